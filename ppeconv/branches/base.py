"""What changes of residual branches have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from paddle import nn

from ppeconv.branches.find import ResidualBlock
from ppeconv.operators.cost import Cost
from ppeconv.schema.declaration import Declared


class BranchChange(Declared):
    """Makes of a residual block the layer that takes its place; the block itself stays as it is.

    A subclass defines `refuse` where it has bounds, `changed` and `cost`. Its own arguments are the fields of its
    `Arguments`: they are what a config can set, and the methods are given them as `own`.
    """

    tried: ClassVar[Sequence[dict[str, Any]]] = ({},)
    """Settings that a search tries."""

    @classmethod
    def refuse(cls, block: ResidualBlock, own: Any) -> None:
        """Raise `Unsupported` for a block that cannot be changed so."""

    @classmethod
    def changed(cls, block: ResidualBlock, own: Any) -> nn.Layer:
        """What takes the place of a block, with weights of it where it keeps some."""
        raise TypeError(f"{cls.__name__} defines no changed()")

    @classmethod
    def describe(cls, block: ResidualBlock, own: Any) -> str:
        """What it makes of a block; for the report."""
        return ""

    @classmethod
    def formula(cls, channels: int, height: int, width: int, **own: Any) -> Cost:
        """Closed form of (trainable parameters, MACs for one map of height x width pixels), of the branch of a basic
        block: two 3x3 convolutions from as many channels to as many, each with a batch norm."""
        return cls.cost(channels, height, width, cls.arguments(own))

    @classmethod
    def cost(cls, channels: int, height: int, width: int, own: Any) -> Cost:
        """What `formula` returns, from checked own arguments."""
        raise TypeError(f"{cls.__name__} defines no cost()")
