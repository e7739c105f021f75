"""CompConv: channels computed from channels, by divide and conquer. A reconstruction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import Annotated, Any, ClassVar

import paddle
from paddle import Tensor, nn
from pydantic import Field

from ppeconv.domains import Channels
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import average_pool, centre_margin, crop_or_pad, host_conv, same_conv, shuffle
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


@OPERATORS.register(aliases=("Comp",))
class CompConv(ConvOperator):
    """Compact convolution (a reconstruction): recursive units, each computed from the next smaller one, and copies.

    With depth d and c = ceil(C_out / (2^(d+1) - 2)), k x k convolutions give ever larger units:

        B_(d-1) = Conv(X; C_in -> c)    B_i = Conv(B_(i+1); 2^(d-2-i) c -> 2^(d-1-i) c), i = d-2..0
        A_0 = Conv(B_0; 2^(d-1) c -> t), the tailing channels    A_i = 2^(d-1-i) channels c of X, i = 1..d-1
        Y = shuffle(concat(A_0, B_0, A_1, B_1, ..., A_(d-1), B_(d-1))), t so that it has C_out channels

    d is lowered where no channel would be left for A_0 or X has too few channels to copy; the report says so.

    Parameters: kh kw (C_in c + sum_(j=0)^(d-2) 2^(2j+1) c^2 + 2^(d-1) c t) (+ the channels that are not copies with
    bias); MACs: the weights times H' W'.

    A reconstruction: neither code nor the paper's equations (3) to (6) were at hand. Chosen to fit its statements
    (about 8 % of the channels in the smallest unit and 20 % of the cost at d = 3): c and d as above, a unit reads the
    smaller B alone, A_1, A_2, ... are X's first channels in turn, the shuffle has 2 groups, and nothing stands between
    the convolutions. With a stride, the first convolution has it and the copies are average-pooled; the copies come
    from the frame that the kernel's centre visits.
    """

    papers = (
        Paper(
            "CompConv: A Compact Convolution Module for Efficient Feature Learning", "CVPR 2021 workshop", "2106.10486"
        ),
    )

    class Arguments(OwnArguments):
        depth: Annotated[int, Field(ge=0, le=3)] | None = None
        """d; 0 is the plain convolution. Not given: min(3, floor(log2(max(1, C_in / base_channels))) + 1)."""
        base_channels: Channels = 128
        """C_0 of that rule; larger is shallower. The paper recommends 128 for VGG and ResNet."""

    default_rules: ClassVar[dict[str, Any]] = {"min_kernel": 1}
    limits = ("dense", "odd kernel", "fixed padding")
    lighter: ClassVar[dict[str, Sequence[Any]]] = {"depth": (2, 3)}

    @classmethod
    def describe(cls, geometry: ConvGeometry, own: Arguments) -> str:
        wanted = wanted_depth(geometry, own)
        fitting = fitting_depth(geometry, wanted)
        lowered = f" (lowered from {wanted})" if fitting < wanted else ""
        return f"{geometry}, depth {fitting}{lowered}, reconstruction"

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        self.depth = fitting_depth(geometry, wanted_depth(geometry, own))
        first, *others = _convolutions(geometry, self.depth)
        self.first = host_conv(geometry, *first, bias=geometry.bias)
        self.others = nn.LayerList([same_conv(geometry, *channels, bias=geometry.bias) for channels in others])
        self.copies = _copies(geometry, self.depth)
        self.margin = centre_margin(geometry)

    def forward(self, x: Tensor) -> Tensor:
        units = [self.first(x)]
        for conv in self.others:
            units.append(conv(units[-1]))
        if self.depth == 0:
            return units[0]
        *small, tail = units
        copies = average_pool(crop_or_pad(x[:, : sum(self.copies)], self.margin), self.geometry.stride)
        parts = [tail, small[-1]]
        for index, copied in enumerate(copies.split(self.copies, axis=1) if self.copies else [], 2):
            parts += [copied, small[-index]]
        return shuffle(paddle.concat(parts, axis=1), 2)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, depth {self.depth}, reconstruction"

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        pixels = geometry.output_size(height, width)
        fitting = fitting_depth(geometry, wanted_depth(geometry, own))
        convolutions = [
            Cost.conv(inputs, outputs, geometry.kernel_size, pixels, bias=geometry.bias)
            for inputs, outputs in _convolutions(geometry, fitting)
        ]
        return sum(convolutions, Cost())


def wanted_depth(geometry: ConvGeometry, own: CompConv.Arguments) -> int:
    """The depth asked for, or that of the adaptive rule."""
    if own.depth is not None:
        return own.depth
    return min(3, max(1, geometry.in_channels // own.base_channels).bit_length())


def fitting_depth(geometry: ConvGeometry, wanted: int) -> int:
    """The largest depth up to `wanted` that leaves a channel for A_0 and finds enough channels to copy."""
    fits = (
        depth
        for depth in range(wanted, 0, -1)
        if _tail(geometry, depth) >= 1 and sum(_copies(geometry, depth)) <= geometry.in_channels
    )
    return next(fits, 0)


def _unit(geometry: ConvGeometry, depth: int) -> int:
    return ceil(geometry.out_channels / (2 ** (depth + 1) - 2))


def _tail(geometry: ConvGeometry, depth: int) -> int:
    return geometry.out_channels - (2 ** (depth + 1) - 2 - 2 ** (depth - 1)) * _unit(geometry, depth)


def _copies(geometry: ConvGeometry, depth: int) -> list[int]:
    """Channels of A_1, ..., A_(d-1)."""
    return [2 ** (depth - 1 - index) * _unit(geometry, depth) for index in range(1, depth)]


def _convolutions(geometry: ConvGeometry, depth: int) -> list[tuple[int, int]]:
    """Input and output channels of the convolutions that give B_(d-1), ..., B_0, A_0."""
    if depth == 0:
        return [(geometry.in_channels, geometry.out_channels)]
    units = [2**step * _unit(geometry, depth) for step in range(depth)]
    channels = [geometry.in_channels, *units, _tail(geometry, depth)]
    return list(pairwise(channels))
