"""What several schedules are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from paddle.optimizer import lr


def scaled(arguments: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """A schedule's arguments with the learning rates among them multiplied."""
    rates = {key: arguments[key] for key in ("learning_rate", "eta_min", "end_lr") if key in arguments}
    rates = {key: rate * factor for key, rate in rates.items()}
    if "values" in arguments:
        rates["values"] = [rate * factor for rate in arguments["values"]]
    return {**arguments, **rates}


def half_cosine(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine; at the end of it from share 1 on."""
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def warmed_up(schedule: lr.LRScheduler, target: float, steps: int) -> lr.LRScheduler:
    """Up in a straight line from 0 to target in the first steps, then the schedule."""
    return lr.LinearWarmup(schedule, steps, 0.0, target) if steps else schedule
