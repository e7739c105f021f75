"""What recalibration blocks have in common, and the places for them in a network."""

from __future__ import annotations

from typing import Any

from paddle import nn

from ppeconv.operators.cost import Cost
from ppeconv.schema.declaration import Declared


class Block(Declared, nn.Layer):
    """A layer made from the number of channels of a feature map [N, C, H, W] and own arguments.

    A subclass defines `build`, `forward` and `cost`. Its own arguments are the fields of its `Arguments`: they are
    what a config can set. An argument called `size` is the height and width of the feature map; it is measured where
    a block is put into a network.
    """

    def __init__(self, channels: int, **own: Any):
        self._make(channels, self.arguments(own))

    def _make(self, place: int, own: Any) -> None:
        super().__init__()
        self.build(place, own)

    def build(self, channels: int, own: Any) -> None:
        """Make the sub-layers."""
        raise TypeError(f"{type(self).__name__} defines no build()")

    @classmethod
    def formula(cls, channels: int, height: int, width: int, **own: Any) -> Cost:
        """Closed form of (trainable parameters, MACs for one map of height x width pixels)."""
        return cls.cost(channels, height, width, cls.arguments(own))

    @classmethod
    def cost(cls, channels: int, height: int, width: int, own: Any) -> Cost:
        """What `formula` returns, from checked own arguments."""
        raise TypeError(f"{cls.__name__} defines no cost()")


class Recalibration(Block):
    """[N, C, H, W] -> the same shape: weighs channels or pixels."""


class RecalibrationSlot(nn.Identity):
    """Where a recalibration block goes: a network's block passes its output through one, and it does nothing.

    Args:
        channels: of the feature map that passes.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def extra_repr(self) -> str:
        return f"channels={self.channels}"
