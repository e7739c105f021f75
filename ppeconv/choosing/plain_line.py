"""Whether a network is better than the plain one at another width would be at equal cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ppeconv.choosing.pareto import Point, front

Standing = Literal["better", "level", "worse", "outside"]


@dataclass(frozen=True)
class Verdict:
    """How a network stands to the plain one of several widths."""

    standing: Standing
    """"outside": it costs less than the narrowest or more than the widest, and is neither better nor worse than it in
    both cost and score."""
    margin: float | None
    """Its score minus that of the plain line at equal cost; None beyond the ends of the line."""


def at_equal_cost(plain: Sequence[Point], cost: float) -> float | None:
    """Score of a plain network of that cost: linear in the logarithm of the cost between the two nearest ones known.

    Those count that are on the Pareto front of the plain ones; nobody would take the others. None where it costs less
    than all of them or more, as nothing is extrapolated.
    """
    ordered = front(plain)
    if not ordered or not ordered[0].cost <= cost <= ordered[-1].cost:
        return None
    costs = [math.log(point.cost) for point in ordered]
    return float(np.interp(math.log(cost), costs, [point.score for point in ordered]))


def judge(point: Point, plain: Sequence[Point], noise: float = 0.0) -> Verdict:
    """How a network stands to the plain ones.

    Args:
        point: the network.
        plain: the plain network at several widths.
        noise: differences in score up to this say nothing, such as those between seeds.
    """
    expected = at_equal_cost(plain, point.cost)
    if expected is not None:
        margin = point.score - expected
        if abs(margin) <= noise:
            return Verdict("level", margin)
        return Verdict("better" if margin > 0 else "worse", margin)
    if any(other.cost <= point.cost and other.score >= point.score + noise for other in plain):
        return Verdict("worse", None)
    if any(other.cost >= point.cost and other.score < point.score - noise for other in plain):
        return Verdict("better", None)
    return Verdict("outside", None)
