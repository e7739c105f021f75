"""How long exported networks take."""

from __future__ import annotations

import dataclasses
import importlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppeconv import backend
from ppeconv.benchmark import machine
from ppeconv.benchmark.networks import Network
from ppeconv.benchmark.turns import Contestant, drop_refusing, median_ms, take_turns, time_ratio
from ppeconv.deployment.export import Form
from ppeconv.deployment.runtimes import open_runtime
from ppeconv.errors import UserError
from ppeconv.registry import RUNTIMES

BATCH_SIZES = 1, 64
STRETCH = 4
"""How many times as many rounds as asked for there are at most, where the machine does other things, too."""


@dataclasses.dataclass(frozen=True)
class InferenceSpeed:
    """One network on one runtime at one batch size; no figures where the runtime cannot run it."""

    network: str
    batch_size: int
    runtime: str
    params: int
    macs: int
    """For one image, of the trained form."""
    mac_ratio: float
    """MACs divided by those of the first network."""
    median_ms: float | None = None
    p90_ms: float | None = None
    images_per_second: float | None = None
    peak_mib: float | None = None
    """See `Contestant.peak_mib`."""
    time_ratio: float | None = None
    """To the first network on the same runtime at the same batch size; see `ppeconv.benchmark.turns.time_ratio`."""
    reason: str = ""
    """Why there are no figures."""


def make_prediction(
    folder: str, runtime: str, module: str, shape: Sequence[int], threads: int, precision: str = "float32"
) -> Callable[[], Any]:
    """A call of an exported network on one fixed random batch [N, C, H, W]; a module registers the runtime."""
    importlib.import_module(module)
    backend.keep_freed_pages()
    network = open_runtime(Path(folder), runtime, threads, precision=precision)
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    return lambda: network(images)


def inference_speed(
    networks: Sequence[Network],
    *,
    runtimes: Sequence[str] = ("paddle",),
    batch_sizes: Sequence[int] = BATCH_SIZES,
    form: Form = "deployed",
    precision: str = "float32",
    rounds: int = 5,
    times: int = 2,
    threads: int | None = None,
) -> list[InferenceSpeed]:
    """Networks exported and timed within one run; at each batch size all of them take turns on all runtimes.

    Args:
        networks: the ratios are to the first.
        runtimes: their names, see `ppeconv.deployment.runtimes`.
        batch_sizes: images in a call.
        form: see `export`.
        precision: the number format in which each runtime computes; one that cannot has a row without figures.
        rounds, times: turns of each network, and timed calls in a turn; on a machine that does other things, too, there
            are up to STRETCH times as many turns, see `take_turns`.
        threads: CPU threads of each; those of this process when not given.

    Raises:
        UserError: nothing could be measured.
    """
    with tempfile.TemporaryDirectory() as scratch:
        entries = [
            entry
            for number, network in enumerate(networks)
            for entry in _exported(network, runtimes, form, Path(scratch) / str(number))
        ]
        rows = [row for batch in batch_sizes for row in _measured(entries, batch, precision, rounds, times, threads)]
    if all(row.reason for row in rows):
        raise UserError(f"nothing could be measured: {rows[0].reason}")
    return rows


@dataclasses.dataclass(eq=False)
class _Entry:
    """A network exported for a runtime, or the reason why it is not."""

    network: Network
    runtime: str
    folder: Path
    reason: str = ""

    def contestant(self, batch: int, threads: int, precision: str) -> Contestant:
        """The process that runs it."""
        arguments = {
            "folder": str(self.folder),
            "runtime": self.runtime,
            "module": RUNTIMES.get(self.runtime).__module__,
            "shape": [batch, *self.network.image_shape],
            "threads": threads,
            "precision": precision,
        }
        task = {"make": f"{__name__}:{make_prediction.__name__}", "arguments": arguments}
        return Contestant(task, environment={"OMP_NUM_THREADS": str(threads)})


def _exported(network: Network, runtimes: Sequence[str], form: Form, folder: Path) -> list[_Entry]:
    """At once for runtimes that take the same forms of operators, as they share most of the work; each by itself where
    one of them cannot have the network."""
    alike: dict[bool, list[str]] = {}
    for runtime in runtimes:
        alike.setdefault(RUNTIMES.get(runtime).fuses, []).append(runtime)
    entries: dict[str, _Entry] = {}
    for group in alike.values():
        reason = _refusal(network, group, form, folder / "-".join(group))
        for runtime in group:
            place, own = folder / "-".join(group), reason
            if reason and len(group) > 1:
                place = folder / runtime
                own = _refusal(network, [runtime], form, place)
            entries[runtime] = _Entry(network, runtime, place, own)
    return [entries[runtime] for runtime in runtimes]


def _refusal(network: Network, runtimes: Sequence[str], form: Form, folder: Path) -> str:
    """Export; why it cannot be done, empty where it is."""
    try:
        network.export(folder, runtimes, form)
    except UserError as error:
        return str(error)
    return ""


def _measured(
    entries: Sequence[_Entry], batch: int, precision: str, rounds: int, times: int, threads: int | None
) -> list[InferenceSpeed]:
    threads = threads or machine.threads()
    # Those that are compared, on one runtime, take their turns right after each other.
    able = sorted((entry for entry in entries if not entry.reason), key=lambda entry: entry.runtime)
    contestants = {entry: entry.contestant(batch, threads, precision) for entry in able}
    refusals = drop_refusing(contestants)
    taken = take_turns(contestants, rounds, times, STRETCH)
    first = entries[0].network
    base = {entry.runtime: taken[entry] for entry in taken if entry.network is first}
    rows = []
    for entry in entries:
        counts = entry.network.counts
        figures: dict[str, Any] = {"reason": entry.reason or refusals.get(entry, "")}
        if entry in taken:
            median = median_ms(taken[entry])
            figures = {
                "median_ms": median,
                "p90_ms": float(np.percentile(np.concatenate(taken[entry]), 90)),
                "images_per_second": 1000 * batch / median,
                "peak_mib": contestants[entry].peak_mib,
                "time_ratio": time_ratio(taken[entry], base[entry.runtime]) if entry.runtime in base else None,
            }
        work = counts.params, counts.macs, counts.macs / first.counts.macs
        rows.append(InferenceSpeed(entry.network.name, batch, entry.runtime, *work, **figures))
    return rows
