"""GhostConv: few filters, and cheap depthwise filters on what they give."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, ClassVar

import paddle
from paddle import Tensor, nn

from ppeconv.domains import Channels, OddKernelSide
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import Between, host_conv, with_norm_act
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


@OPERATORS.register(aliases=("Ghost",))
class GhostConv(ConvOperator):
    """Ghost module: intrinsic channels from the k x k convolution, the others from a depthwise one on these.

        Y1 = Conv_kxk(X; C_in -> m), m = ceil(C_out / ratio)    Y2 = DWConv_dxd(Y1; m -> m (ratio - 1))
        Y = the first C_out channels of concat(Y1, Y2)

    Parameters: C_in m kh kw + m (ratio - 1) d^2 (+ m ratio with bias, + 2 m ratio with a batch norm); MACs: the
    weights times H' W'.

    Departure from the paper, whose module ends in batch norm and ReLU: with inner="none", the default, the host's norm
    and activation are the only ones. A bias of the host stands in each of the two convolutions. The published code of
    Ghost-ResNet50 has nothing between them either, but always these biases, and no norms in its blocks.
    """

    papers = (Paper("GhostNet: More Features from Cheap Operations", "CVPR 2020", "1911.11907"),)

    class Arguments(OwnArguments):
        ratio: Channels = 2
        """output channels for each intrinsic one; 1 is the plain convolution."""
        cheap_kernel: OddKernelSide = 3
        """d, the odd side of the depthwise kernels."""
        inner: Between = "none"
        """what follows each of the two convolutions: "none", "bn" or "bn_relu"."""

    default_rules: ClassVar[dict[str, Any]] = {"min_kernel": 1}
    limits = ("dense",)
    lighter: ClassVar[dict[str, Sequence[Any]]] = {"ratio": (2, 4)}

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        self.intrinsic = ceil(geometry.out_channels / own.ratio)
        self.ghosts = self.intrinsic * (own.ratio - 1)
        bias = geometry.bias and own.inner == "none"
        primary = host_conv(geometry, geometry.in_channels, self.intrinsic, bias=bias)
        self.primary = with_norm_act(primary, self.intrinsic, own.inner)
        if self.ghosts:
            cheap = nn.Conv2D(
                self.intrinsic,
                self.ghosts,
                own.cheap_kernel,
                padding=own.cheap_kernel // 2,
                groups=self.intrinsic,
                bias_attr=None if bias else False,
            )
            self.cheap = with_norm_act(cheap, self.ghosts, own.inner)

    def forward(self, x: Tensor) -> Tensor:
        intrinsic = self.primary(x)
        if not self.ghosts:
            return intrinsic
        channels = self.geometry.out_channels - self.intrinsic
        return paddle.concat([intrinsic, self.cheap(intrinsic)[:, :channels]], axis=1)

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        pixels = geometry.output_size(height, width)
        intrinsic = ceil(geometry.out_channels / own.ratio)
        ghosts = intrinsic * (own.ratio - 1)
        bias = geometry.bias and own.inner == "none"
        return (
            Cost.conv(geometry.in_channels, intrinsic, geometry.kernel_size, pixels, bias=bias)
            + Cost.conv(intrinsic, ghosts, (own.cheap_kernel, own.cheap_kernel), pixels, intrinsic, bias)
            + Cost.between(intrinsic + ghosts, own.inner)
        )
