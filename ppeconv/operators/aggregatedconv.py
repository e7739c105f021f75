"""AggregatedConv: the same narrow transformation many times over, added up."""

from __future__ import annotations

from math import ceil
from typing import Literal

import paddle
from paddle import Tensor, nn

from ppeconv.domains import Channels
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import Between, host_conv, pointwise, with_norm_act
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper

Form = Literal["grouped", "concatenated", "branches"]


@OPERATORS.register(aliases=("Aggregated", "ResNeXt"))
class AggregatedConv(ConvOperator):
    """Aggregated transformations: G paths of 1x1 to w channels, k x k on these and 1x1 to all, added up.

    Parameters with D = G w: C_in D + D^2 kh kw / G + D C_out (+ 4 D with batch norms, + C_out with bias).
    MACs: C_in D H W + (D^2 kh kw / G + D C_out) H' W'.

    The shortcut of a residual block is the host's; this is the path beside it.
    """

    papers = (Paper("Aggregated Residual Transformations for Deep Neural Networks", "CVPR 2017", "1611.05431"),)

    class Arguments(OwnArguments):
        cardinality: Channels = 8
        """G, the number of paths."""
        path_width: Channels | None = None
        """w. Not given: ceil(C_out / (2 G)), which at G = 32 and C_out = 256 is ResNeXt's 32x4d."""
        form: Form = "grouped"
        """three ways to write the same function. "branches" has a path each; "concatenated" joins them before one last
        1x1; "grouped" is one 1x1, one grouped k x k and one 1x1."""
        between: Between = "bn_relu"
        """what stands between the convolutions: "bn_relu", "bn" or "none"."""

    limits = ("dense", "kernel above 1x1")

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        width = _path_width(geometry, own)
        inner, outputs, bias = own.cardinality * width, geometry.out_channels, geometry.bias
        if own.form == "grouped":
            self.paths = nn.LayerList([_narrow(geometry, inner, own.cardinality, own.between)])
            self.expand = nn.LayerList([pointwise(inner, outputs, bias=bias)])
            return
        self.paths = nn.LayerList([_narrow(geometry, width, 1, own.between) for _ in range(own.cardinality)])
        if own.form == "concatenated":
            self.expand = nn.LayerList([pointwise(inner, outputs, bias=bias)])
        else:
            self.expand = nn.LayerList(
                [pointwise(width, outputs, bias=bias and path == 0) for path in range(own.cardinality)]
            )

    def forward(self, x: Tensor) -> Tensor:
        narrow = [path(x) for path in self.paths]
        if len(self.expand) == 1:
            return self.expand[0](paddle.concat(narrow, axis=1))
        return sum(self.expand[index](part) for index, part in enumerate(narrow))

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        pixels = geometry.output_size(height, width)
        inner = own.cardinality * _path_width(geometry, own)
        return (
            Cost.conv(geometry.in_channels, inner, (1, 1), (height, width))
            + Cost.conv(inner, inner, geometry.kernel_size, pixels, own.cardinality)
            + Cost.conv(inner, geometry.out_channels, (1, 1), pixels, bias=geometry.bias)
            + 2 * Cost.between(inner, own.between)
        )


def _path_width(geometry: ConvGeometry, own: AggregatedConv.Arguments) -> int:
    return own.path_width or ceil(geometry.out_channels / (2 * own.cardinality))


def _narrow(geometry: ConvGeometry, channels: int, groups: int, between: Between) -> nn.Sequential:
    return nn.Sequential(
        with_norm_act(pointwise(geometry.in_channels, channels), channels, between),
        with_norm_act(host_conv(geometry, channels, channels, groups), channels, between),
    )
