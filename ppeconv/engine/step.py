"""Step strategies: how one batch becomes gradients. They are handed to the trainer, whose loop knows none of them.

A strategy is called with (model, images, labels, backward), calls `backward(loss)` for every loss whose gradient it
wants added up, and returns (loss, logits) for the log. The trainer updates the weights afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import paddle
from paddle import Tensor, nn

from ppeconv.engine.losses import CombinedLoss, auxiliary_loss

Backward = Callable[[Tensor], None]


class Strategy(Protocol):
    """How one batch becomes gradients: called with network, images, labels and backward pass for (loss, logits)."""

    loss: Any

    def __call__(
        self, model: nn.Layer, images: Tensor, labels: Tensor, backward: Backward
    ) -> tuple[Tensor, Tensor]: ...


class Supervised:
    """One forward and one backward pass; the losses that layers declare themselves are added."""

    def __init__(self, loss: CombinedLoss):
        self.loss = loss

    def __call__(self, model: nn.Layer, images: Tensor, labels: Tensor, backward: Backward) -> tuple[Tensor, Tensor]:
        with self.loss.watching(model):
            logits = model(images)
            loss = self.loss(logits, labels, images) + auxiliary_loss(model)
        backward(loss)
        return loss, logits


def step_generator() -> np.random.Generator:
    """Random numbers for a strategy; the trainer has seeded Paddle, so they depend on the seed and the step alone."""
    return np.random.default_rng(paddle.randint(0, 2**31 - 1, [1]).item())
