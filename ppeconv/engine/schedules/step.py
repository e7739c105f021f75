"""Steps of equal length."""

from __future__ import annotations

from paddle.optimizer import lr

from ppeconv.domains import Count, Natural, Rate, Share
from ppeconv.engine.schedules.parts import warmed_up
from ppeconv.registry import SCHEDULES


@SCHEDULES.register(name="Step")
def step(
    steps_per_epoch: int,
    steps: int,
    *,
    learning_rate: Rate,
    step_size: Count,
    gamma: Share = 0.1,
    warmup_epoch: Natural = 0,
) -> lr.LRScheduler:
    """Times gamma every step_size epochs."""
    warmup = steps_per_epoch * warmup_epoch
    return warmed_up(lr.StepDecay(learning_rate, step_size * steps_per_epoch, gamma), learning_rate, warmup)
