"""The options of a geometry that are worth measuring: faster than what stands there, and none beaten by another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from paddle import Tensor, nn

from ppeconv.deployment.alone import alone
from ppeconv.errors import UserError
from ppeconv.slimming.learning import watched
from ppeconv.slimming.options import Option, options
from ppeconv.slimming.positions import Position
from ppeconv.surgery.fitting import fit

MOST = 6
"""Options of a geometry that are measured in the network and fitted."""
MARGIN = 1.05
"""How much longer than what stands there an option may take alone: in the network it may yet be faster."""
_STEPS, _ITERATIONS = 40, 15
"""Of the short fit."""


@dataclass(frozen=True)
class Outline:
    """What is known of an option at first sight."""

    option: Option
    milliseconds: float
    """Alone, see `alone`."""
    error: float
    """Relative, after a short fit in one position."""


Alone = Callable[[Mapping[str, nn.Layer], tuple[int, ...]], dict[str, float]]
"""Milliseconds of layers [N, C, H, W] -> [N, C', H', W'], for the shape [C, H, W] of what goes in."""


def alone_on(runtime: str, batch: int, threads: int) -> Alone:
    """What measures on a runtime."""
    return lambda layers, shape: alone(layers, shape, runtime, batch, threads)


def shortlist(
    model: nn.Layer,
    group: Sequence[Position],
    names: Sequence[str] | None,
    batches: Sequence[Tensor],
    measure: Alone,
    seed: int,
    most: int = MOST,
) -> list[Outline]:
    """The best options of positions of one geometry.

    Those stay that do not take longer than what stands there, on the Pareto front of time and error after a short fit;
    of many those that bend the front the least are left out. MACs have no say: what has more of them may be faster.

    Args:
        model: the network, in which the positions are.
        group: the positions; the one in the middle stands for all.
        names: see `options`.
        batches: images of the short fit.
        measure: gives milliseconds.
        seed: of the weights.
        most: how many are left at most.
    """
    position = group[len(group) // 2]
    made = {str(option): (option, option.made(position, seed)) for option in options(position, names)}
    taken = _timed({name: layer for name, (_, layer) in made.items()}, position, measure)
    found = []
    with watched(model, position, batches) as (seen, norm):
        for name, (option, layer) in made.items():
            if name in taken:
                done = fit(layer, *seen, norm, steps=_STEPS, iterations=_ITERATIONS, seed=seed)
                found.append(Outline(option, taken[name], done.after))
    return thinned(found, most)


def thinned(found: Sequence[Outline], most: int) -> list[Outline]:
    """The Pareto front, the fastest first, thinned out to so many."""
    front: list[Outline] = []
    for it in sorted(found, key=lambda it: (it.milliseconds, it.error)):
        if math.isfinite(it.error) and (not front or it.error < front[-1].error):
            front.append(it)
    while len(front) > max(most, 2):
        inner = range(1, len(front) - 1)
        del front[min(inner, key=lambda at: _bend(*front[at - 1 : at + 2]))]
    return front[:most]


def _bend(left: Outline, middle: Outline, right: Outline) -> float:
    """How far below the line through its neighbours an option is; negative where it is above."""
    ends = [left.milliseconds, right.milliseconds]
    return float(np.interp(middle.milliseconds, ends, [left.error, right.error])) - middle.error


def _timed(layers: Mapping[str, nn.Layer], position: Position, measure: Alone) -> dict[str, float]:
    """Milliseconds of the layers that are not slower than what stands there; those that cannot run are left out."""
    plain = "what stands there"
    able = dict(layers)
    try:
        taken = measure({plain: position.layer, **able}, position.in_shape)
    except UserError:  # one of them cannot be exported: which one is found out one by one
        able = {name: layer for name, layer in layers.items() if _runs(layer, position, measure)}
        taken = measure({plain: position.layer, **able}, position.in_shape)
    return {name: taken[name] for name in able if taken[name] <= MARGIN * taken[plain]}


def _runs(layer: nn.Layer, position: Position, measure: Alone) -> bool:
    try:
        measure({"": layer}, position.in_shape)
    except UserError:
        return False
    return True
