"""The number formats of a training step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import Tensor
from paddle.optimizer import Optimizer

from ppeconv import backend
from ppeconv.errors import UserError


@dataclass
class Precision:
    """Float32 throughout, or mixed precision."""

    name: str = "float32"
    """As it is written down with what was computed."""
    cast: Callable[[], AbstractContextManager[Any]] = nullcontext
    """Context in which a step computes."""
    scaler: Any = None
    """Of losses, where the format cannot hold gradients that are as small as they come."""

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
    """Mixed precision of the section AMP; on a CPU the fast layers in bf16, which has float32's range: no scaling.

    Raises a UserError on a CPU that does not compute in bf16, and where the fast layers are off.
    """
    if device == "cpu":
        return _bf16_of_fast_layers()
    scaler = paddle.amp.GradScaler(init_loss_scaling=scale_loss, use_dynamic_loss_scaling=dynamic)
    return Precision(f"AMP {level}", functools.partial(paddle.amp.auto_cast, level=level), scaler)


def _bf16_of_fast_layers() -> Precision:
    if lack := backend.lack_of_bf16():
        raise UserError(f"AMP.use_amp needs a GPU or a CPU that computes in bf16; {lack}; set AMP.use_amp to false")
    if not backend.is_enabled():
        usable, reason = backend.available()
        why = f"Global.cpu_backend or the variable {backend.VARIABLE} says paddle" if usable else reason
        raise UserError(
            f"AMP.use_amp on a CPU needs the fast layers, which are off here: {why}; set AMP.use_amp to "
            "false, or Global.cpu_backend to auto"
        )
    return Precision("bf16", functools.partial(backend.enabled, "bf16"))
