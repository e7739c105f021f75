"""Half a cosine."""

from __future__ import annotations

from paddle.optimizer import lr

from ppeconv.domains import Natural, Rate, RateOrZero
from ppeconv.engine.schedules.parts import half_cosine, warmed_up
from ppeconv.registry import SCHEDULES


@SCHEDULES.register(name="Cosine")
def cosine(
    steps_per_epoch: int, steps: int, *, learning_rate: Rate, eta_min: RateOrZero = 0.0, warmup_epoch: Natural = 0
) -> lr.LRScheduler:
    """Half a cosine from learning_rate to eta_min."""
    warmup = steps_per_epoch * warmup_epoch
    length, floor = max(1, steps - warmup), eta_min / learning_rate

    def factor(step: int) -> float:
        return half_cosine(1.0, floor, step / length)

    # Not CosineAnnealingDecay, which goes on from its last value and so would not follow a run that is made longer.
    return warmed_up(lr.LambdaDecay(learning_rate, factor), learning_rate, warmup)
