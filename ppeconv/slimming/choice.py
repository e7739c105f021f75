"""Which option to take in every position: integer linear programming, as in arXiv 2107.10624."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppeconv.errors import UserError
from ppeconv.extras import required

_ROUNDING = 1e-7
"""How far, relatively, two totals may be apart that are the same; as much as the solver's tolerance, as with less it
takes programs for infeasible that are not."""


@dataclass(frozen=True)
class Item:
    """What may stand in a position, beside what stands there."""

    gain_ms: float
    """What the whole network is faster by."""
    cost: float
    """What the loss rises by; below 0 counts as 0."""
    macs: int = 0
    """What the network has less of; negative where it has more."""


Taken = tuple["int | None", ...]
"""For each position the number of an item, or None for what stands there."""


def choose(
    positions: Sequence[Sequence[Item]], inside: Mapping[int, Sequence[int]], plain_ms: float, budget_ms: float
) -> Taken:
    """The items of least total cost with which a network takes no longer than a budget; of these the fewest MACs.

    Args:
        positions: what may stand in each.
        inside: position of a block -> the positions in it, which stay as they are where the block changes.
        plain_ms: what the network takes with nothing changed.
        budget_ms: what it may take.

    Raises:
        UserError: nothing is fast enough; the sentence says what the fastest is.
    """
    program = _Program(positions, inside)
    limit = plain_ms - budget_ms
    if limit <= 0:
        return (None,) * len(positions)
    gains = program.of(lambda item: item.gain_ms)
    quickest = program.least(-gains)
    most = plain_ms - time_of(positions, program.taken(quickest), plain_ms)
    if most < limit:
        raise UserError(
            f"no choice takes {budget_ms:.3g} ms or less: the fastest possible takes {plain_ms - most:.3g} ms, "
            f"{(plain_ms - most) / plain_ms:.0%} of the {plain_ms:.3g} ms of the network as it is"
        )
    costs = program.of(lambda item: max(item.cost, 0.0))
    best = program.least(costs, [(gains, limit)], quickest)
    total = float(costs @ best)
    room = _ROUNDING * (1 + total)
    fewest = program.least(-program.of(lambda item: item.macs), [(gains, limit), (-costs, -(total + room))], best)
    return program.taken(fewest)


def fastest(positions: Sequence[Sequence[Item]], inside: Mapping[int, Sequence[int]]) -> Taken:
    """The items with which a network takes the least time."""
    program = _Program(positions, inside)
    return program.taken(program.least(-program.of(lambda item: item.gain_ms)))


def time_of(positions: Sequence[Sequence[Item]], taken: Taken, plain_ms: float) -> float:
    """Milliseconds that a choice is predicted to take."""
    chosen = [items[at] for items, at in zip(positions, taken, strict=True) if at is not None]
    return plain_ms - sum(item.gain_ms for item in chosen)


def cost_of(positions: Sequence[Sequence[Item]], taken: Taken) -> float:
    """What a choice is predicted to raise the loss by."""
    chosen = [items[at] for items, at in zip(positions, taken, strict=True) if at is not None]
    return sum(max(item.cost, 0.0) for item in chosen)


class _Program:
    """0 or 1 for each item of each position, at most one in a position, and none inside a block that changes."""

    def __init__(self, positions: Sequence[Sequence[Item]], inside: Mapping[int, Sequence[int]]):
        self.positions = positions
        self.places = [(at, number) for at, items in enumerate(positions) for number in range(len(items))]
        rows = [self._row([at]) for at in range(len(positions))]
        rows += [self._row([block, at]) for block, inner in inside.items() for at in inner]
        self.exclusions = np.array(rows).reshape(len(rows), len(self.places))

    def of(self, value: Callable[[Item], float]) -> np.ndarray:
        """A number of every item, in their order."""
        return np.array([float(value(self.positions[at][number])) for at, number in self.places])

    def least(
        self,
        costs: np.ndarray,
        at_least: Sequence[tuple[np.ndarray, float]] = (),
        known: np.ndarray | None = None,
    ) -> np.ndarray:
        """0 or 1 for each item, of the least total.

        Args:
            costs: of the items.
            at_least: rows and what their totals are at least.
            known: values that keep the rows; they are taken where these just hold and the solver finds none.
        """
        if not self.places:
            return np.zeros(0)
        optimize = required("scipy.optimize", "slim")
        constraints = [optimize.LinearConstraint(self.exclusions, ub=1)]
        constraints += [optimize.LinearConstraint(*_scaled(row[None], bound)) for row, bound in at_least]
        bounds, whole = optimize.Bounds(0, 1), np.ones(len(costs))
        found = optimize.milp(
            _scaled(costs)[0], constraints=constraints, integrality=whole, bounds=bounds, options={"mip_rel_gap": 0}
        )
        if found.x is None and known is not None:
            return known
        if found.x is None:
            raise UserError(f"the choice could not be computed: {found.message}")
        return np.round(found.x)

    def taken(self, values: np.ndarray) -> Taken:
        """The numbers of the items."""
        chosen = {at: number for (at, number), value in zip(self.places, values, strict=True) if value}
        return tuple(chosen.get(at) for at in range(len(self.positions)))

    def _row(self, positions: Sequence[int]) -> np.ndarray:
        return np.array([float(at in positions) for at, _ in self.places])


def _scaled(row: np.ndarray, bound: float = 0.0) -> tuple[np.ndarray, float]:
    """A row and its bound, divided so that tolerances of the solver, which are absolute, are small beside it."""
    size = np.abs(row).max() or 1.0
    return row / size, bound / size
