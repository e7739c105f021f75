"""Latencies measured in sittings that fit the memory, each beside the plain network, and brought together."""

from __future__ import annotations

import dataclasses
import datetime
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ppeconv.benchmark.inference import InferenceSpeed, inference_speed
from ppeconv.benchmark.machine import available_mib
from ppeconv.benchmark.networks import Network
from ppeconv.deployment.export import Form
from ppeconv.deployment.runtimes import by_preference
from ppeconv.domains import Count, Threads
from ppeconv.errors import UserError, nearest
from ppeconv.extras import installed
from ppeconv.registry import RUNTIMES
from ppeconv.schema import Section, check
from ppeconv.schema.values import listed

Named = TypeVar("Named")
"""Of which str() is the name of its network."""

FEWEST, FIRST, MOST_RUNS = 1, 10, 50
"""Timed runs in a turn: at least, while nothing is known of how long they take, and at most."""
TURN_MS = 50
"""How long the timed runs of the plain network take together where they are neither the fewest nor the most."""
MOST = 8
"""Networks beside the plain one in a sitting, so that the turns of all of them lie near each other."""
MARGIN = 1.5
"""How much more memory than any network before the next ones may need."""
_UNKNOWN_MIB = 1024
"""What a contestant is taken to need where the system does not tell."""


class _Numbers(Section):
    """What `How` may be asked for."""

    batch_size: Count
    threads: Threads
    form: Form
    rounds: Count


@dataclass(frozen=True)
class How:
    """How is measured; see `inference_speed`."""

    runtimes: tuple[str, ...]
    batch_size: int
    threads: int
    form: Form
    rounds: int

    def __post_init__(self) -> None:
        check(_Numbers, {name: getattr(self, name) for name in _Numbers.model_fields})

    def measure(self, networks: Sequence[Network], times: int = FIRST) -> list[InferenceSpeed]:
        """All in turns, with so many timed runs in each."""
        return inference_speed(
            networks,
            runtimes=self.runtimes,
            batch_sizes=[self.batch_size],
            form=self.form,
            rounds=self.rounds,
            times=times,
            threads=self.threads,
        )


@dataclass(frozen=True)
class Sitting:
    """What took turns with the plain network, whose rows are the first."""

    measured: str
    """When it began, as YYYY-MM-DD HH:MM in UTC."""
    rounds: int
    rows: list[InferenceSpeed]


def runtimes_of(names: str | Sequence[str] | None) -> list[str]:
    """Canonical names, or of all those that are installed and do not quantize."""
    kinds = by_preference()
    if names is None:
        return [
            name for name, kind in kinds.items() if not kind.quantizes and (not kind.package or installed(kind.package))
        ]
    names = listed(names)
    for name in names:
        if not RUNTIMES.knows(name):
            raise UserError(f"there is no runtime {name!r}{nearest(name, kinds)}")
        if RUNTIMES.get(name).quantizes:
            raise UserError(
                f"{name} rounds weights and activations by calibration images, which is not done here; leave it out, "
                "and measure trained runs with ppeconv benchmark"
            )
    return [RUNTIMES.canonical(name) for name in dict.fromkeys(names)]


def missing(candidates: Sequence[Named], sittings: Sequence[Sitting], how: How) -> list[Named]:
    """Those that no sitting has on every runtime."""
    done = {(row.network, row.runtime) for sitting in sittings for row in sitting.rows}
    return [it for it in candidates if any((str(it), runtime) not in done for runtime in how.runtimes)]


def measure(
    plain: Named,
    candidates: Sequence[Named],
    sittings: Sequence[Sitting],
    how: How,
    network: Callable[[Named], Network],
    say: Callable[[str], None],
    available: Callable[[], float | None] = available_mib,
) -> Iterator[Sitting]:
    """Sitting after sitting until every candidate was measured; those that cannot be built are named and left out.

    Where nothing was measured before and there is no candidate, it is the plain network alone.

    Args:
        plain: the one beside which the others are measured.
        candidates: but for the plain one.
        sittings: that were measured before; they tell how much memory is needed.
        how: the same for all.
        network: builds a candidate; raises UserError where it cannot be built.
        say: gets a line for each sitting.
        available: MiB of memory that are free now, None where that is not known.
    """
    rest, seen = list(candidates), [row for sitting in sittings for row in sitting.rows]
    done = 0
    while rest or not seen:
        size = group_size(seen, available(), len(how.runtimes))
        group, rest = rest[:size], rest[size:]
        done += len(group)
        say(f"measuring {done} of {done + len(rest)}: {', '.join(map(str, [plain, *group]))}")
        began = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M")
        built = [network(plain)]
        for candidate in group:
            try:
                built.append(network(candidate))
            except UserError as error:
                say(f"{candidate} is left out: {error}")
        if len(built) > 1 or not seen:
            rows = how.measure(built, timed_runs(seen))
            seen += rows
            yield Sitting(began, how.rounds, rows)


def group_size(rows: Sequence[InferenceSpeed], available: float | None, runtimes: int) -> int:
    """How many networks, each on all runtimes, fit into the available MiB beside the plain one; at least one.

    Args:
        rows: measured before, by which the need is judged; without any it is one network.
        available: None where that is not known, which is one network, too.
        runtimes: their number.
    """
    if not rows or available is None:
        return 1
    need = MARGIN * runtimes * max(row.peak_mib or _UNKNOWN_MIB for row in rows)
    return min(max(int(available / need) - 1, 1), MOST)


def timed_runs(rows: Sequence[InferenceSpeed]) -> int:
    """How many in a turn, by what the plain network takes on its slowest runtime; a short call varies more."""
    taken = [row.median_ms for row in rows if row.network == rows[0].network and row.median_ms]
    return min(max(round(TURN_MS / max(taken)), FEWEST), MOST_RUNS) if taken else FIRST


def together(sittings: Sequence[Sitting]) -> list[tuple[str, InferenceSpeed]]:
    """Rows of several sittings as of one, each with when it was measured, the newest of a network on a runtime.

    The plain network's time on a runtime is the median of those of the sittings; every other one's is that, times its
    ratio to the plain network in its own sitting.
    """
    plain: dict[str, list[float]] = {}
    newest: dict[tuple[str, str], tuple[str, InferenceSpeed]] = {}
    for sitting in sorted(sittings, key=lambda sitting: sitting.measured):
        for row in sitting.rows:
            newest[row.network, row.runtime] = sitting.measured, row
            if row.network == sitting.rows[0].network and row.median_ms is not None:
                plain.setdefault(row.runtime, []).append(row.median_ms)
    base = {runtime: statistics.median(taken) for runtime, taken in plain.items()}
    return [(measured, _scaled(row, base.get(row.runtime))) for measured, row in newest.values()]


def _scaled(row: InferenceSpeed, plain_ms: float | None) -> InferenceSpeed:
    if row.median_ms is None or row.time_ratio is None or plain_ms is None:
        return row
    factor = row.time_ratio * plain_ms / row.median_ms
    return dataclasses.replace(
        row,
        median_ms=row.median_ms * factor,
        p90_ms=row.p90_ms and row.p90_ms * factor,
        images_per_second=row.images_per_second and row.images_per_second / factor,
    )
