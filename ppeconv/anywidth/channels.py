"""Which channels are active at a width, and where they lie along the axis of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
import paddle
from numpy.typing import ArrayLike
from paddle import Tensor

from ppeconv.backbones.width import make_divisible, scaled

Selection: TypeAlias = "int | Tensor | None"
"""Active positions of an axis: all (None), the first so many, or those with these indices."""


class Channels:
    """Channels that are switched together: the first so many are active, all of them at width 1.

    Args:
        total: their number.
        divisor: a narrower number is a multiple of it; with 1 it is rounded as Python does, halves to even.
        whole: all are active at every width.
        follows: channels that these are a multiple of, at every width, as the hidden ones of an inverted residual.
    """

    def __init__(self, total: int, *, divisor: int = 1, whole: bool = False, follows: Channels | None = None):
        self.total, self.divisor, self.whole, self.follows = total, divisor, whole, follows

    def active(self, width: float) -> int:
        """How many are active at a width in (0, 1]."""
        if self.whole or width == 1:
            return self.total
        if self.follows:
            return self.total // self.follows.total * self.follows.active(width)
        narrow = scaled(self.total, width) if self.divisor == 1 else make_divisible(self.total * width, self.divisor)
        return min(self.total, narrow)

    def opening(self, channel: int) -> float:
        """The smallest width at which a channel is active; 0 where it always is."""
        low, high = 0.0, 1.0
        if self.active(2.0**-60) > channel:
            return low
        while low < (middle := (low + high) / 2) < high:
            low, high = (low, middle) if self.active(middle) > channel else (middle, high)
        return high


class Layout:
    """The channels along an axis: position p is number `index[p]` of `groups[group[p]]`."""

    def __init__(self, groups: Sequence[Channels], group: ArrayLike, index: ArrayLike):
        self.groups, self.group, self.index = list(groups), np.asarray(group), np.asarray(index)

    @classmethod
    def of(cls, channels: Channels, repeats: int = 1) -> Layout:
        """All of one group in order, each `repeats` times running."""
        index = np.repeat(np.arange(channels.total), repeats)
        return cls([channels], np.zeros_like(index), index)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def whole(self) -> bool:
        """Whether everything is active at every width."""
        return all(channels.whole for channels in self.groups)

    def repeated(self, times: int) -> Layout:
        """Each position `times` times running."""
        return Layout(self.groups, np.repeat(self.group, times), np.repeat(self.index, times))

    def narrowed(self, width: float) -> Layout:
        """What is left of it at a width."""
        active = self.is_active(width)
        return Layout(self.groups, self.group[active], self.index[active])

    def is_active(self, width: float) -> np.ndarray:
        """[positions] bool."""
        counts = np.array([channels.active(width) for channels in self.groups])
        return self.index < counts[self.group]

    def at(self, width: float) -> Selection:
        """The active positions."""
        active = self.is_active(width)
        count = int(active.sum())
        if count == len(active):
            return None
        return count if active[:count].all() else paddle.to_tensor(np.flatnonzero(active))


def triangle(outputs: Layout, inputs: Layout) -> np.ndarray:
    """[outputs, inputs] bool: the inputs that an output may read, those active whenever it is itself.

    With as many inputs as outputs this is the lower triangle; y_i = sum over j <= i of w_ij x_j, arXiv 2012.03153. The
    released code draws random widths to find it; here it follows from the very function that counts channels.
    """

    @cache
    def readable(group: int, channel: int) -> np.ndarray:
        return inputs.is_active(max(outputs.groups[group].opening(channel), 2.0**-60))

    return np.stack([readable(group, channel) for group, channel in zip(outputs.group, outputs.index, strict=True)])


def take(tensor: Tensor, *selections: Selection) -> Tensor:
    """The selected positions of the leading axes."""
    if any(isinstance(selection, int) for selection in selections):
        tensor = tensor[tuple(slice(s if isinstance(s, int) else None) for s in selections)]
    for axis, selection in enumerate(selections):
        if isinstance(selection, Tensor):
            tensor = paddle.index_select(tensor, selection, axis)
    return tensor
