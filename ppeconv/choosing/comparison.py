"""Contenders beside each other: what each costs, and how it stands to the plain network of other widths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from ppeconv.benchmark.inference import InferenceSpeed
from ppeconv.benchmark.table import read_csv
from ppeconv.choosing import sittings
from ppeconv.choosing.contenders import Contender, noise, plain_widths, reference
from ppeconv.choosing.kept import Kept, depends_on, measured_or_kept
from ppeconv.choosing.pareto import Point
from ppeconv.choosing.plain_line import Verdict, judge
from ppeconv.choosing.sittings import How

FASTEST = "fastest"
"""In place of a runtime: each network on the one that suits it best."""


@dataclass(frozen=True)
class Cost:
    """What networks cost in one respect."""

    name: str
    of: dict[str, float]
    """By name; without networks of which it is not known."""
    batch_size: int | None = None
    runtime: str | None = None
    """Of a latency."""


@dataclass(frozen=True)
class Row:
    """A network on one runtime at one batch size, or without latency where nothing was measured."""

    name: str
    operator: str
    """See `Contender.title`."""
    top1: float | None
    """Mean over the seeds, last epoch."""
    lowest: float | None
    highest: float | None
    """Of several seeds."""
    seeds: str
    epochs: int
    params: int
    macs: int
    """For one image, of the trained form."""
    training_seconds: int | None
    batch_size: int | None = None
    runtime: str = ""
    median_ms: float | None = None
    p90_ms: float | None = None
    time_ratio: float | None = None
    """Divided by the plain network's on the same runtime at the same batch size."""
    reason: str = ""
    """Why there is no latency."""


@dataclass(frozen=True)
class Comparison:
    """Contenders with their latencies.

    Args:
        contenders: all on the same evaluation images.
        speeds: their latencies, if these were measured.
    """

    contenders: list[Contender]
    speeds: list[InferenceSpeed] = field(default_factory=list)

    @cached_property
    def reference(self) -> Contender:
        """The one that ratios are to."""
        return reference(self.contenders)

    @cached_property
    def titles(self) -> dict[str, str]:
        """By name: the title where no other contender has the same, else the name."""
        times = Counter(contender.title for contender in self.contenders)
        return {it.name: it.title if times[it.title] == 1 else it.name for it in self.contenders}

    @cached_property
    def costs(self) -> list[Cost]:
        """Parameters, MACs, and latencies at each batch size: on the fastest runtime of each, then on every one."""
        counts = {contender.name: contender.counts for contender in self.contenders}
        found = [Cost("parameters", {name: params for name, (params, _) in counts.items()})]
        found.append(Cost("MACs", {name: macs for name, (_, macs) in counts.items()}))
        for batch in dict.fromkeys(row.batch_size for row in self.speeds):
            best: dict[str, float] = {}
            by_runtime: dict[str, dict[str, float]] = {}
            for row in self.speeds:
                if row.batch_size == batch and row.median_ms is not None:
                    best[row.network] = min(row.median_ms, best.get(row.network, row.median_ms))
                    by_runtime.setdefault(row.runtime, {})[row.network] = row.median_ms
            for runtime, own in {FASTEST: best, **by_runtime}.items():
                where = "fastest runtime of each" if runtime == FASTEST else runtime
                found.append(Cost(f"ms at batch {batch}, {where}", own, batch, runtime))
        return found

    def ratio(self, contender: Contender, cost: Cost) -> float | None:
        """A cost divided by the reference's."""
        own, base = cost.of.get(contender.name), cost.of.get(self.reference.name)
        return own / base if own is not None and base is not None else None

    def points(self, cost: Cost) -> list[Point]:
        """Those that are trained and of which the cost is known; the plain line is that of the reference."""
        plain = plain_widths(self.reference, self.contenders)
        return [
            _point(contender, cost, contender in plain, self.titles[contender.name])
            for contender in self.contenders
            if contender.top1 is not None and contender.name in cost.of
        ]

    def verdict(self, contender: Contender, cost: Cost) -> Verdict | None:
        """How it stands to the plain network; None of a plain one, or where something is not known."""
        widths = plain_widths(contender, self.contenders)
        if len(widths) < 2:  # a plain network of another design, such as a shallower one
            line = plain_widths(self.reference, self.contenders)
            widths = [other for other in line if other.recipe == contender.recipe]
        plain = [_point(other, cost, True) for other in widths if other.name in cost.of]
        if contender in widths or not plain or contender.top1 is None or contender.name not in cost.of:
            return None
        return judge(_point(contender, cost, False), plain, self.noise(contender))

    def noise(self, contender: Contender) -> float:
        """The largest difference between seeds of one network, of those that were trained as it was."""
        return noise([other for other in self.contenders if other.recipe == contender.recipe])

    def rows(self) -> list[Row]:
        """A row for each contender on each runtime at each batch size."""
        speeds: dict[str, list[InferenceSpeed]] = {}
        for speed in self.speeds:
            speeds.setdefault(speed.network, []).append(speed)
        return [row for contender in self.contenders for row in _rows(contender, speeds.get(contender.name, []))]


def measure(
    compared: Sequence[Contender],
    how: How,
    say: Callable[[str], None],
    again: bool = False,
    cache: Path | None = None,
) -> list[InferenceSpeed]:
    """Latencies of all at one batch size, in groups that fit the memory, each beside the reference and related to it.

    Args:
        compared: of the same network only one is measured.
        how: how.
        say: gets a line on what is done.
        again: forget what was measured before of the same contenders.
        cache: folder of that; the user's when not given.
    """
    named = {contender.name: contender for contender in compared}
    same: dict[str, list[str]] = {}
    for contender in [reference(compared), *compared]:
        same.setdefault(contender.facts, []).append(contender.name)
    first, *rest = (names[0] for names in same.values())
    kept = Kept(depends_on(how, {facts: names[0] for facts, names in same.items()}), cache)
    sat = measured_or_kept(kept, first, rest, how, lambda name: named[name].network, say, again)
    rows = [row for _, row in sittings.together(sat) if row.runtime in how.runtimes]
    others = {names[0]: dict.fromkeys(names) for names in same.values()}
    return [replace(row, network=name) for row in rows for name in others[row.network]]


def kept_speeds(file: Path) -> tuple[list[InferenceSpeed], dict[str, str]]:
    """The latencies of a table that was written of `Comparison.rows`, and what they depend on."""
    rows, facts = read_csv(file, Row)
    speeds = [
        InferenceSpeed(
            row.name,
            row.batch_size,
            row.runtime,
            row.params,
            row.macs,
            row.macs / rows[0].macs,
            row.median_ms,
            row.p90_ms,
            time_ratio=row.time_ratio,
            reason=row.reason,
        )
        for row in rows
        if row.batch_size
    ]
    return speeds, facts


def _point(contender: Contender, cost: Cost, is_plain: bool, title: str = "") -> Point:
    return Point(title, cost.of[contender.name], contender.top1 or 0.0, contender.spread, is_plain)


def _rows(contender: Contender, speeds: Sequence[InferenceSpeed]) -> Iterator[Row]:
    lowest, highest = contender.spread or (None, None)
    row = Row(
        contender.name,
        contender.title,
        contender.top1,
        lowest,
        highest,
        " ".join(str(run.seed) for run in contender.runs),
        contender.epochs,
        *contender.counts,
        None if contender.seconds is None else round(contender.seconds),
    )
    if not speeds:
        yield row
    for it in speeds:
        yield replace(
            row,
            batch_size=it.batch_size,
            runtime=it.runtime,
            median_ms=it.median_ms,
            p90_ms=it.p90_ms,
            time_ratio=it.time_ratio,
            reason=it.reason,
        )
