"""What an operator does to a network as a whole, beyond taking the place of single convolutions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from paddle import nn

from ppeconv.layers.handover import hand_over_hooks


@dataclass
class Passage:
    """The way of an operator through a network: its arguments at each convolution, and the layers set beside them.

    Args:
        outside: why the convolutions that it does not pass stay as they are.
        hooks: what hooks of the layers that it passes should be ready for.
    """

    outside: str
    hooks: str
    arguments: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Own arguments by the id of a convolution, where they differ from those of the others."""
    kept: dict[int, str] = field(default_factory=dict)
    """By the id of a convolution that is passed, why the operator does not take its place."""
    settings: list[tuple[nn.Layer, str, nn.Layer]] = field(default_factory=list)
    """(owner, attribute, new layer)."""

    def settle(self) -> None:
        """Put the layers in, with the hooks of those that they replace and do not hold."""
        for owner, attribute, layer in self.settings:
            old = getattr(owner, attribute)
            if old is not None and all(part is not old for part in layer.sublayers()):
                hand_over_hooks([old], layer)
            setattr(owner, attribute, layer)
