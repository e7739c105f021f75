"""A straight line, or a polynomial."""

from __future__ import annotations

from paddle.optimizer import lr

from ppeconv.domains import Natural, Power, Rate, RateOrZero
from ppeconv.engine.schedules.parts import warmed_up
from ppeconv.registry import SCHEDULES


@SCHEDULES.register(name="Linear")
def linear(
    steps_per_epoch: int,
    steps: int,
    *,
    learning_rate: Rate,
    end_lr: RateOrZero = 0.0,
    power: Power = 1.0,
    warmup_epoch: Natural = 0,
) -> lr.LRScheduler:
    """A straight line from learning_rate to end_lr, or a polynomial of another power."""
    warmup = steps_per_epoch * warmup_epoch
    line = lr.PolynomialDecay(learning_rate, max(1, steps - warmup), end_lr, power)
    return warmed_up(line, learning_rate, warmup)
