"""A feature map in two resolutions, as octave convolutions pass it on.

Paper: arXiv 1904.05049, see `ppeconv.operators.octaveconv`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import paddle
from paddle import Tensor, nn

from ppeconv.geometry import ConvGeometry
from ppeconv.layers import functional
from ppeconv.layers.handover import hand_over
from ppeconv.operators.base import copy_weights
from ppeconv.operators.parts import average_pool


class Octaves(NamedTuple):
    """A feature map in two resolutions: high [N, C_h, H, W], low [N, C_l, ceil(H / 2), ceil(W / 2)]."""

    high: Tensor
    low: Tensor

    def __add__(self, other: Octaves) -> Octaves:  # type: ignore[override]  # a sum, and no longer tuple
        return Octaves(self.high + other.high, self.low + other.low)


class PooledConv(nn.Conv2D):
    """A 2x2 average pool and a convolution of stride 1, with the weights of the one of stride 2 whose place it takes.

    What an octave convolution without low-frequency channels is in the published codes.
    """

    def __init__(self, conv: nn.Conv2D):
        super().__init__(**replace(ConvGeometry.of_layer(conv), stride=(1, 1)).conv_arguments())
        hand_over([conv], self)
        copy_weights(conv, self)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(downsample(x))


def downsample(x: Tensor) -> Tensor:
    """2x2 average pool; a last odd row or column is averaged alone."""
    return average_pool(x, (2, 2))


def upsample_like(x: Tensor, like: Tensor) -> Tensor:
    """Twice the size by nearest neighbours, cut to the height and width of `like`."""
    return functional.upsample(x, *like.shape[2:])


def split_octaves(x: Tensor, low: int) -> Tensor | Octaves:
    """`x` with its last `low` channels at half the resolution."""
    return Octaves(x[:, :-low], downsample(x[:, -low:])) if low else x


def merge_octaves(x: Tensor | Octaves) -> Tensor:
    """One tensor of both resolutions, at the higher one."""
    return paddle.concat([x.high, upsample_like(x.low, x.high)], axis=1) if isinstance(x, Octaves) else x
