"""Up and down once."""

from __future__ import annotations

from paddle.optimizer import lr

from ppeconv.domains import Factor, Rate, RateOrZero, Share
from ppeconv.engine.schedules.parts import half_cosine
from ppeconv.registry import SCHEDULES


@SCHEDULES.register(name="OneCycle")
def one_cycle(
    steps_per_epoch: int,
    steps: int,
    *,
    learning_rate: Rate,
    divide_factor: Factor = 25.0,
    end_lr: RateOrZero = 1e-4,
    peak: Share = 0.3,
) -> lr.LRScheduler:
    """Up from learning_rate / divide_factor to learning_rate in the first `peak` of the run, then down to end_lr."""
    last = max(1, steps - 1)
    top = min(max(0.0, peak * steps - 1), last)

    def factor(step: int) -> float:
        if step < top:
            return half_cosine(1 / divide_factor, 1.0, step / top)
        return half_cosine(1.0, end_lr / learning_rate, (step - top) / ((last - top) or 1.0))

    return lr.LambdaDecay(learning_rate, factor)  # Paddle's divides by zero where the peak falls on the first step
