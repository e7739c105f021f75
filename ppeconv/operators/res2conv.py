"""Res2Conv: splits of the channels convolved one after the other, each reaching farther."""

from __future__ import annotations

from math import ceil

import paddle
from paddle import Tensor, nn

from ppeconv.domains import Channels, Scales
from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import Between, centre_margin, crop_or_pad, pointwise, same_conv, with_norm_act
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


@OPERATORS.register(aliases=("Res2",))
class Res2Conv(ConvOperator):
    """Res2Net module: 1x1 to s splits of w channels, a chain of k x k over them, 1x1 to all.

        y_1 = x_1    y_2 = K_2(x_2)    y_i = K_i(x_i + y_(i-1)), i = 3..s
        Y = Conv_1x1(concat(y_1, ..., y_s))

    Parameters: C_in w s + w^2 kh kw (s - 1) / G + w s C_out, with batch norms + 2 w (2 s - 1) (+ C_out with bias).
    MACs: C_in w s times H W, the others times H' W'.

    Sources differ: the paper's formula and figure keep the first split and its text adds nothing to the second, which
    is followed here; the published code keeps the last one. With a stride, as in that code, nothing is carried from
    split to split and x_1 is average-pooled, the padding included in the means.
    """

    papers = (Paper("Res2Net: A New Multi-scale Backbone Architecture", "TPAMI 2021", "1904.01169"),)

    class Arguments(OwnArguments):
        scale: Scales = 4
        """s, the number of splits."""
        split_width: Channels | None = None
        """w. Not given: ceil(C_out / s)."""
        cardinality: Channels = 1
        """groups of the k x k convolutions; they divide w."""
        between: Between = "bn_relu"
        """what follows the first 1x1 and every K_i: "bn_relu", "bn" or "none"."""

    limits = ("dense", "odd kernel", "fixed padding", "kernel above 1x1")

    @classmethod
    def refuse(cls, geometry: ConvGeometry, own: Arguments) -> None:
        if _split_width(geometry, own) % own.cardinality:
            raise Unsupported(
                f"Res2Conv needs a cardinality that divides the {_split_width(geometry, own)} channels "
                f"of a split; got {own.cardinality}"
            )

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        width, stride = _split_width(geometry, own), geometry.stride
        self.reduce = with_norm_act(pointwise(geometry.in_channels, width * own.scale), width * own.scale, own.between)
        self.margin = centre_margin(geometry)
        self.strided = stride != (1, 1)
        self.keep = (
            nn.AvgPool2D(geometry.kernel_size, stride, [side // 2 for side in geometry.kernel_size], exclusive=False)
            if self.strided
            else nn.Identity()
        )
        self.chain = nn.LayerList(
            [
                with_norm_act(
                    same_conv(geometry, width, width, stride=stride, groups=own.cardinality), width, own.between
                )
                for _ in range(own.scale - 1)
            ]
        )
        self.expand = pointwise(width * own.scale, geometry.out_channels, bias=geometry.bias)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = crop_or_pad(self.reduce(x), self.margin).chunk(len(self.chain) + 1, axis=1)
        outputs = [self.keep(first)]
        for index, part in enumerate(others):
            carried = index > 0 and not self.strided
            outputs.append(self.chain[index](part + outputs[-1] if carried else part))
        return self.expand(paddle.concat(outputs, axis=1))

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        pixels = geometry.output_size(height, width)
        split = _split_width(geometry, own)
        link = Cost.conv(split, split, geometry.kernel_size, pixels, own.cardinality) + Cost.between(split, own.between)
        return (
            Cost.conv(geometry.in_channels, split * own.scale, (1, 1), (height, width))
            + Cost.between(split * own.scale, own.between)
            + (own.scale - 1) * link
            + Cost.conv(split * own.scale, geometry.out_channels, (1, 1), pixels, bias=geometry.bias)
        )


def _split_width(geometry: ConvGeometry, own: Res2Conv.Arguments) -> int:
    return own.split_width or ceil(geometry.out_channels / own.scale)
