"""Res2Conv: splits of the channels convolved one after the other, each reaching farther.

Paper: Res2Net: A New Multi-scale Backbone Architecture, TPAMI 2021, arXiv 1904.01169.
"""

from __future__ import annotations

from math import ceil

import paddle
from paddle import Tensor, nn

from ppeconv.domains import Channels, Scales
from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import Between, centre_margin, followed, pointwise, reframe, same_conv
from ppeconv.registry import OPERATORS


@OPERATORS.register(aliases=("Res2",))
class Res2Conv(ConvOperator):
    """Res2Net module: 1x1 to s splits of w channels, a chain of k x k over them, 1x1 to all.

        y_1 = x_1    y_2 = K_2(x_2)    y_i = K_i(x_i + y_(i-1)), i = 3..s
        Y = Conv_1x1(concat(y_1, ..., y_s))

    Own arguments:
        scale: s, the number of splits.
        split_width: w. Not given: ceil(C_out / s).
        cardinality: groups of the k x k convolutions; they divide w.
        between: what follows the first 1x1 and every K_i: "bn_relu", "bn" or "none".

    Parameters: C_in w s + w^2 kh kw (s - 1) / G + w s C_out, with batch norms + 2 w (2 s - 1) (+ C_out with bias).
    MACs: C_in w s times H W, the others times H' W'.

    Sources differ: the paper's formula and figure keep the first split and its text adds nothing to the second, which
    is followed here; the published code keeps the last one. With a stride, as in that code, nothing is carried from
    split to split and x_1 is average-pooled, the padding included in the means.
    """

    limits = ("dense", "odd kernel", "fixed padding", "kernel above 1x1")

    @classmethod
    def refuse(
        cls, geometry: ConvGeometry, *, scale: int, split_width: int | None, cardinality: int, between: Between
    ) -> None:
        if _split_width(geometry, scale, split_width) % cardinality:
            raise Unsupported(
                f"Res2Conv needs a cardinality that divides the {_split_width(geometry, scale, split_width)} channels "
                f"of a split; got {cardinality}"
            )

    def build(
        self,
        geometry: ConvGeometry,
        *,
        scale: Scales = 4,
        split_width: Channels | None = None,
        cardinality: Channels = 1,
        between: Between = "bn_relu",
    ) -> None:
        width, stride = _split_width(geometry, scale, split_width), geometry.stride
        self.reduce = followed(pointwise(geometry.in_channels, width * scale), width * scale, between)
        self.margin = centre_margin(geometry)
        self.strided = stride != (1, 1)
        self.keep = (
            nn.AvgPool2D(geometry.kernel_size, stride, [side // 2 for side in geometry.kernel_size], exclusive=False)
            if self.strided
            else nn.Identity()
        )
        self.chain = nn.LayerList(
            [
                followed(same_conv(geometry, width, width, stride=stride, groups=cardinality), width, between)
                for _ in range(scale - 1)
            ]
        )
        self.expand = pointwise(width * scale, geometry.out_channels, bias=geometry.bias)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = reframe(self.reduce(x), self.margin).chunk(len(self.chain) + 1, axis=1)
        outputs = [self.keep(first)]
        for index, part in enumerate(others):
            carried = index > 0 and not self.strided
            outputs.append(self.chain[index](part + outputs[-1] if carried else part))
        return self.expand(paddle.concat(outputs, axis=1))

    @classmethod
    def cost(
        cls,
        geometry: ConvGeometry,
        height: int,
        width: int,
        *,
        scale: int,
        split_width: int | None,
        cardinality: int,
        between: Between,
    ) -> Cost:
        pixels = geometry.output_size(height, width)
        split = _split_width(geometry, scale, split_width)
        link = Cost.conv(split, split, geometry.kernel_size, pixels, cardinality) + Cost.between(split, between)
        return (
            Cost.conv(geometry.in_channels, split * scale, (1, 1), (height, width))
            + Cost.between(split * scale, between)
            + (scale - 1) * link
            + Cost.conv(split * scale, geometry.out_channels, (1, 1), pixels, bias=geometry.bias)
        )


def _split_width(geometry: ConvGeometry, scale: int, split_width: int | None) -> int:
    return split_width or ceil(geometry.out_channels / scale)
