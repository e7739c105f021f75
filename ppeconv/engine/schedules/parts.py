"""What several schedules are made of."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Mapping
from typing import Any

from paddle.optimizer import lr

from ppeconv.domains import Rate, RateOrZero
from ppeconv.registry import SCHEDULES

_NAMES = ("learning_rate", "eta_min", "end_lr", "values")
"""Learning rates where a schedule declares no types."""


def scaled(name: str, arguments: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """A schedule's arguments with the learning rates multiplied: those that its types, or `_NAMES`, say are such."""
    schedule = SCHEDULES.get(name)
    declared = typing.get_type_hints(schedule.__init__ if inspect.isclass(schedule) else schedule, include_extras=True)
    return {
        key: _multiplied(value, factor) if key in _NAMES or _is_rate(declared.get(key)) else value
        for key, value in arguments.items()
    }


def _is_rate(declared: Any) -> bool:
    return declared in (Rate, RateOrZero) or any(_is_rate(part) for part in typing.get_args(declared))


def _multiplied(value: Any, factor: float) -> Any:
    if isinstance(value, (list, tuple)):
        return [_multiplied(each, factor) for each in value]
    return value if value is None else value * factor


def half_cosine(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine; at the end of it from share 1 on."""
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def warmed_up(schedule: lr.LRScheduler, target: float, steps: int) -> lr.LRScheduler:
    """Up in a straight line from 0 to target in the first steps, then the schedule."""
    return lr.LinearWarmup(schedule, steps, 0.0, target) if steps else schedule
