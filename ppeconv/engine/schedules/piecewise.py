"""Rates as they are listed."""

from __future__ import annotations

from typing import Annotated

from paddle.optimizer import lr

from ppeconv.domains import ASCENDING, SOME, Count, Natural, RateOrZero
from ppeconv.engine.schedules.parts import warmed_up
from ppeconv.errors import UserError
from ppeconv.registry import SCHEDULES


@SCHEDULES.register(name="Piecewise")
def piecewise(
    steps_per_epoch: int,
    steps: int,
    *,
    decay_epochs: Annotated[list[Count], ASCENDING],
    values: Annotated[list[RateOrZero], SOME],
    warmup_epoch: Natural = 0,
) -> lr.LRScheduler:
    """values[0] until epoch decay_epochs[0], then values[1], and so on."""
    if len(values) != len(decay_epochs) + 1:
        raise UserError(f"Piecewise needs one more of values than of decay_epochs; got {values} and {decay_epochs}")
    if decay_epochs and decay_epochs[0] <= warmup_epoch:
        raise UserError(
            f"Piecewise.decay_epochs {decay_epochs} begins before the end of warmup_epoch {warmup_epoch}; the first "
            "rate would never be reached"
        )
    warmup = steps_per_epoch * warmup_epoch
    boundaries = [epoch * steps_per_epoch - warmup for epoch in decay_epochs]
    return warmed_up(lr.PiecewiseDecay(boundaries, values), values[0], warmup)
