"""BottleneckConv: the k x k convolution on few channels, between two 1x1 convolutions."""

from __future__ import annotations

from math import ceil

from paddle import Tensor, nn

from ppeconv.domains import Divisor
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import Between, host_conv, pointwise, with_norm_act
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


@OPERATORS.register(aliases=("Bottleneck",))
class BottleneckConv(ConvOperator):
    """1x1 to few channels, k x k on these, 1x1 to all.

    Parameters: C_in m + m^2 kh kw + m C_out (+ 4 m with batch norms, + C_out with bias).
    MACs: C_in m H W + (m^2 kh kw + m C_out) H' W'.

    The shortcut of a residual bottleneck is the host's; this is the path beside it.
    """

    papers = (
        Paper("Going Deeper with Convolutions", "CVPR 2015", "1409.4842"),
        Paper("Deep Residual Learning for Image Recognition", "CVPR 2016", "1512.03385"),
    )

    class Arguments(OwnArguments):
        reduction: Divisor = 4.0
        """the middle has m = ceil(C_out / reduction) channels."""
        between: Between = "bn_relu"
        """what stands between the convolutions: "bn_relu", "bn" or "none"."""

    limits = ("dense", "kernel above 1x1")

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        middle = ceil(geometry.out_channels / own.reduction)
        self.convs = nn.Sequential(
            with_norm_act(pointwise(geometry.in_channels, middle), middle, own.between),
            with_norm_act(host_conv(geometry, middle, middle), middle, own.between),
            pointwise(middle, geometry.out_channels, bias=geometry.bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        pixels = geometry.output_size(height, width)
        middle = ceil(geometry.out_channels / own.reduction)
        return (
            Cost.conv(geometry.in_channels, middle, (1, 1), (height, width))
            + Cost.conv(middle, middle, geometry.kernel_size, pixels)
            + Cost.conv(middle, geometry.out_channels, (1, 1), pixels, bias=geometry.bias)
            + 2 * Cost.between(middle, own.between)
        )
