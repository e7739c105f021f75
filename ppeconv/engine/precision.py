"""The number formats of a training step."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import Tensor
from paddle.optimizer import Optimizer

from ppeconv.errors import UserError


@dataclass
class Precision:
    """Mixed precision: the Paddle level and a loss scaler, or neither."""

    level: str = "O0"
    scaler: Any = None

    def cast(self) -> Any:
        """Context in which the forward pass runs."""
        return paddle.amp.auto_cast(level=self.level) if self.scaler else nullcontext()

    def scaled(self, loss: Tensor) -> Tensor:
        """What the backward pass begins with."""
        return self.scaler.scale(loss) if self.scaler else loss

    def update(self, optimizer: Optimizer) -> None:
        """Change the weights by their gradients."""
        if self.scaler:
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            optimizer.step()


def mixed_precision(device: str, level: str, scale_loss: float, dynamic: bool) -> Precision:
    """Mixed precision of the section AMP; a UserError on a CPU."""
    if device == "cpu":
        raise UserError("AMP.use_amp needs a GPU: Paddle's CPU kernels train in float32 only; set AMP.use_amp to false")
    scaler = paddle.amp.GradScaler(init_loss_scaling=scale_loss, use_dynamic_loss_scaling=dynamic)
    return Precision(level, scaler)
