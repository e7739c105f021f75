"""NoBranch: a residual block is left out. Networks with such blocks bear it, arXiv 1605.06431."""

from __future__ import annotations

from typing import Any

from paddle import nn

from ppeconv.branches.base import BranchChange
from ppeconv.branches.find import ResidualBlock
from ppeconv.errors import Unsupported
from ppeconv.layers.handover import identity_like
from ppeconv.operators.cost import Cost
from ppeconv.registry import BRANCHES
from ppeconv.schema.declaration import Paper


@BRANCHES.register
class NoBranch(BranchChange):
    """The residual branch is left out: Y = X, where the shortcut is the identity.

    Parameters: 0; MACs: 0.

    An activation behind the sum goes as well. Where blocks end in ReLU, X has been through the one of the block before.
    """

    papers = (
        Paper("Residual Networks Behave Like Ensembles of Relatively Shallow Networks", "NeurIPS 2016", "1605.06431"),
    )

    @classmethod
    def refuse(cls, block: ResidualBlock, own: Any) -> None:
        if not block.is_identity:
            raise Unsupported("its shortcut is not the identity, so that something is needed in its place")

    @classmethod
    def changed(cls, block: ResidualBlock, own: Any) -> nn.Layer:
        return identity_like(block.layer)

    @classmethod
    def describe(cls, block: ResidualBlock, own: Any) -> str:
        return "left out"

    @classmethod
    def cost(cls, channels: int, height: int, width: int, own: Any) -> Cost:
        return Cost()
