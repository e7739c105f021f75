"""The same rate throughout."""

from __future__ import annotations

from paddle.optimizer import lr

from ppeconv.domains import Natural, Rate
from ppeconv.engine.schedules.parts import warmed_up
from ppeconv.registry import SCHEDULES


@SCHEDULES.register(name="Constant")
def constant(steps_per_epoch: int, steps: int, *, learning_rate: Rate, warmup_epoch: Natural = 0) -> lr.LRScheduler:
    """The same rate throughout."""
    return warmed_up(lr.LambdaDecay(learning_rate, _one), learning_rate, steps_per_epoch * warmup_epoch)


def _one(step: int) -> float:
    return 1.0
