"""ShuffleUnitV1: grouped 1x1 convolutions that a channel shuffle connects, around a depthwise one."""

from __future__ import annotations

from math import ceil, gcd

import paddle
from paddle import Tensor

from ppeconv.domains import Channels
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import (
    CentredPool,
    centre_margin,
    crop_or_pad,
    host_conv,
    pointwise,
    shuffle,
    with_norm_act,
)
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


@OPERATORS.register
class ShuffleUnitV1(ConvOperator):
    """ShuffleNet unit with b = ceil(C_out / 4) inner channels.

        branch = GConv_1x1(BN(DWConv_kxk(shuffle(ReLU(BN(GConv_1x1(X)))))))
        stride 1 and C_in = C_out: Y = X + branch
        a stride and C_in < C_out: Y = concat(avgpool(X), branch), the branch giving C_out - C_in channels
        otherwise: Y = branch

    Parameters with o output channels of the branch: C_in b / g + b kh kw + b o / g + 4 b (+ o with bias).
    MACs: C_in b / g H W + (b kh kw + b o / g) H' W'.

    The means of the pool count the padding, as in the published code. Sources differ: the shuffle is before the
    depthwise convolution as in the paper, in the published code behind it and the other way round. At the widths of
    ShuffleNet with 1, 2 and 3 groups that is the same up to a permutation of the inner channels (the outputs of the
    first 1x1, the depthwise convolution, the inputs of the last); with 4 and 8 groups there is none in some stages.
    The norm at the end of the branch and the last ReLU are the host's.
    """

    papers = (
        Paper(
            "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices",
            "CVPR 2018",
            "1707.01083",
        ),
    )

    class Arguments(OwnArguments):
        conv_groups: Channels = 4
        """g of the two 1x1 convolutions; each takes the largest common divisor of g and its channels."""
        first_groups: Channels | None = None
        """groups of the first 1x1, where they are others; 1 in the first unit of ShuffleNet."""

    limits = ("dense", "odd kernel", "fixed padding", "kernel above 1x1")

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        inner, outputs = _widths(geometry)
        first, last = _groups(geometry, own)
        self.first = with_norm_act(pointwise(geometry.in_channels, inner, first), inner)
        self.shuffle_groups = gcd(own.conv_groups, inner)
        self.depthwise = with_norm_act(host_conv(geometry, inner, inner, inner), inner, "bn")
        self.last = pointwise(inner, outputs, last, bias=geometry.bias)
        self.shortcut = _shortcut(geometry)
        self.margin = centre_margin(geometry)
        if self.shortcut == "concat":
            self.pool = CentredPool(geometry, "avg", exclusive=False)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.last(self.depthwise(shuffle(self.first(x), self.shuffle_groups)))
        if self.shortcut == "add":
            return crop_or_pad(x, self.margin) + branch
        if self.shortcut == "concat":
            return paddle.concat([self.pool(x), branch], axis=1)
        return branch

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        pixels = geometry.output_size(height, width)
        inner, outputs = _widths(geometry)
        first, last = _groups(geometry, own)
        return (
            Cost.conv(geometry.in_channels, inner, (1, 1), (height, width), first)
            + Cost.conv(inner, inner, geometry.kernel_size, pixels, inner)
            + Cost.conv(inner, outputs, (1, 1), pixels, last, geometry.bias)
            + 2 * Cost.norm(inner)
        )


def _shortcut(geometry: ConvGeometry) -> str:
    if geometry.stride == (1, 1):
        return "add" if geometry.in_channels == geometry.out_channels else "none"
    return "concat" if geometry.in_channels < geometry.out_channels else "none"


def _widths(geometry: ConvGeometry) -> tuple[int, int]:
    """Inner channels and output channels of the branch."""
    beside = geometry.in_channels if _shortcut(geometry) == "concat" else 0
    return ceil(geometry.out_channels / 4), geometry.out_channels - beside


def _groups(geometry: ConvGeometry, own: ShuffleUnitV1.Arguments) -> tuple[int, int]:
    """Groups of the first and of the last 1x1 convolution."""
    inner, outputs = _widths(geometry)
    return gcd(own.first_groups or own.conv_groups, geometry.in_channels, inner), gcd(own.conv_groups, inner, outputs)
