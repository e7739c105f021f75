"""Learning rate schedules: per step, from epochs as a config writes them.

Each is called with (steps per epoch, steps of the whole run) and gives one of Paddle's schedulers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from paddle.optimizer import lr

from ppeconv.domains import ASCENDING, SOME, Count, Factor, Natural, Power, Rate, RateOrZero, Share
from ppeconv.errors import UserError
from ppeconv.registry import SCHEDULES


@SCHEDULES.register(name="Constant")
def constant(steps_per_epoch: int, steps: int, *, learning_rate: Rate, warmup_epoch: Natural = 0) -> lr.LRScheduler:
    """The same rate throughout."""
    return _warmed_up(lr.LambdaDecay(learning_rate, _one), learning_rate, steps_per_epoch * warmup_epoch)


@SCHEDULES.register(name="Cosine")
def cosine(
    steps_per_epoch: int, steps: int, *, learning_rate: Rate, eta_min: RateOrZero = 0.0, warmup_epoch: Natural = 0
) -> lr.LRScheduler:
    """Half a cosine from learning_rate to eta_min."""
    warmup = steps_per_epoch * warmup_epoch
    length, floor = max(1, steps - warmup), eta_min / learning_rate

    def factor(step: int) -> float:
        return _half_cosine(1.0, floor, step / length)

    # Not CosineAnnealingDecay, which goes on from its last value and so would not follow a run that is made longer.
    return _warmed_up(lr.LambdaDecay(learning_rate, factor), learning_rate, warmup)


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
    return _warmed_up(line, learning_rate, warmup)


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
    return _warmed_up(lr.StepDecay(learning_rate, step_size * steps_per_epoch, gamma), learning_rate, warmup)


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
    return _warmed_up(lr.PiecewiseDecay(boundaries, values), values[0], warmup)


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
            return _half_cosine(1 / divide_factor, 1.0, step / top)
        return _half_cosine(1.0, end_lr / learning_rate, (step - top) / ((last - top) or 1.0))

    return lr.LambdaDecay(learning_rate, factor)  # Paddle's divides by zero where the peak falls on the first step


def scaled(arguments: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """A schedule's arguments with the learning rates among them multiplied."""
    rates = {key: arguments[key] for key in ("learning_rate", "eta_min", "end_lr") if key in arguments}
    rates = {key: rate * factor for key, rate in rates.items()}
    if "values" in arguments:
        rates["values"] = [rate * factor for rate in arguments["values"]]
    return {**arguments, **rates}


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def _one(step: int) -> float:
    return 1.0


def _warmed_up(schedule: lr.LRScheduler, target: float, steps: int) -> lr.LRScheduler:
    return lr.LinearWarmup(schedule, steps, 0.0, target) if steps else schedule
