"""What recalibration blocks have in common, and the places for them in a network."""

from __future__ import annotations

from typing import Any

from paddle import nn

from ppeconv.operators.cost import Cost
from ppeconv.registry import own_arguments


class Recalibration(nn.Layer):
    """[N, C, H, W] -> the same shape, made from the number of channels.

    Own arguments are the keyword-only parameters of `__init__`: they are what a config can set, and `cost` receives
    all of them. An argument called `size` is the height and width of the feature map; it is measured where a block is
    put into a network.
    """

    @classmethod
    def formula(cls, channels: int, height: int, width: int, **own: Any) -> Cost:
        """Closed form of (trainable parameters, MACs for one map of height x width pixels)."""
        return cls.cost(channels, height, width, **(own_arguments(cls) | own))

    @classmethod
    def cost(cls, channels: int, height: int, width: int, **own: Any) -> Cost:
        """What `formula` returns, from all own arguments."""
        raise TypeError(f"{cls.__name__} defines no cost()")


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
