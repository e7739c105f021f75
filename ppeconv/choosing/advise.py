"""What to take for a latency on this machine: candidates measured, joined with the zoo's accuracies, one chosen."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppeconv.benchmark import machine
from ppeconv.benchmark.inference import InferenceSpeed
from ppeconv.choosing import sittings
from ppeconv.choosing.accuracies import Accuracy, accuracies
from ppeconv.choosing.advice import Choice, Option, choose, plain_latency
from ppeconv.choosing.candidates import PLAIN, Candidate, Host, network_facts
from ppeconv.choosing.kept import Kept, depends_on, measured_or_kept
from ppeconv.choosing.sittings import How, Sitting
from ppeconv.deployment.export import Form
from ppeconv.domains import Positive
from ppeconv.errors import UserError
from ppeconv.pretrained.weights import FOLDER
from ppeconv.schema import Section, check


class _Budget(Section):
    """What one of them may be."""

    budget: Positive = 1.0
    budget_ms: Positive = 1.0


_NOT_TRAINED = None, "", None, ""
"""Accuracy, data, epochs and seeds of an option."""


@dataclass(frozen=True)
class Advice:
    """What was measured and what follows for a latency."""

    host: Host
    how: How
    options: list[Option]
    """Every candidate on every runtime, in the order in which they were measured."""
    budget_ms: float
    choice: Choice

    @property
    def shared(self) -> dict[str, str]:
        """What all of them have in common."""
        return {
            "network": str(self.host),
            "batch_size": str(self.how.batch_size),
            "form": self.how.form,
            "config": self.host.config,
            "overrides": shlex.join(self.host.overrides),
        }

    @property
    def sentence(self) -> str:
        """Which to take and why."""
        return self.choice.sentence

    @property
    def command(self) -> str:
        """What trains it."""
        return self.host.training(self.choice.taken.candidate)


def advise(
    arch: str | None = None,
    budget: float | None = None,
    *,
    budget_ms: float | None = None,
    config: str | None = None,
    overrides: Sequence[str] = (),
    operators: str | Sequence[str] | None = None,
    runtimes: str | Sequence[str] | None = None,
    batch_size: int = 1,
    threads: int | None = None,
    form: Form = "deployed",
    rounds: int = 9,
    measure_again: bool = False,
    records: Path = FOLDER,
    cache: Path | None = None,
    say: Callable[[str], None] = print,
) -> Advice:
    """Measure what could be taken in place of a plain network, and choose for a latency.

    Args:
        arch: a backbone's name.
        budget: share of the plain network's own latency on its fastest runtime,
        budget_ms: or milliseconds.
        config: in place of `arch`, a config whose network it is, without its operators.
        overrides: `Section.key=value`, such as Arch.width=2.
        operators: names, as a list or with commas between; every one that applies when not given.
        runtimes: likewise; every one that is installed and does not quantize when not given. The fastest of each
            network counts.
        batch_size: images in a call.
        threads: CPU threads; those of this process when not given.
        form: see `ppeconv.export`.
        rounds: turns of each network.
        measure_again: forget what was measured before.
        records: folder of the zoo's records.
        cache: folder of what was measured before; the user's cache when not given.
        say: gets lines on what is done.

    Raises:
        UserError: a name or a number is wrong, there is not one budget, or the plain network runs on no runtime.
    """
    host = _host(arch, config, overrides)
    if (budget is None) == (budget_ms is None):
        raise UserError("give one budget: a share of the plain network's latency, such as 0.5, or milliseconds")
    check(_Budget, {"budget": budget} if budget_ms is None else {"budget_ms": budget_ms})
    how = How(tuple(sittings.runtimes_of(runtimes)), batch_size, threads or machine.threads(), form, rounds)
    options = measured_options(host, how, operators, measure_again=measure_again, records=records, cache=cache, say=say)
    limit = budget_ms if budget_ms is not None else (budget or 0.0) * plain_latency(options)
    return Advice(host, how, options, limit, choose(options, limit))


def measured_options(
    host: Host,
    how: How,
    operators: str | Sequence[str] | None = None,
    *,
    measure_again: bool = False,
    records: Path = FOLDER,
    cache: Path | None = None,
    say: Callable[[str], None] = print,
) -> list[Option]:
    """Every candidate on every runtime, from the cache where it was measured before; see `advise`."""
    candidates, left_out = host.candidates(operators)
    say(f"{host}: {len(candidates)} networks on {', '.join(how.runtimes)}, batch size {how.batch_size}")
    for name, reason in left_out.items():
        say(f"does not apply: {name}: {reason}")
    known = _known(host, how, candidates, cache, measure_again, say)
    rows = [
        (measured, row)
        for measured, row in sittings.together(known)
        if row.runtime in how.runtimes and row.network in set(map(str, candidates))
    ]
    trained = accuracies(host, candidates, records)
    return _options(rows, candidates, trained)


def _known(
    host: Host,
    how: How,
    candidates: Sequence[Candidate],
    cache: Path | None,
    measure_again: bool,
    say: Callable[[str], None],
) -> list[Sitting]:
    """What was kept, and what is measured now, which is kept sitting by sitting."""
    kept = Kept(depends_on(how, network_facts(host.of())), cache)
    others = [candidate for candidate in candidates if candidate != PLAIN]
    return measured_or_kept(kept, PLAIN, others, how, host.network, say, measure_again)


def _options(
    rows: Sequence[tuple[str, InferenceSpeed]],
    candidates: Sequence[Candidate],
    trained: dict[Candidate, Accuracy],
) -> list[Option]:
    named = {str(candidate): candidate for candidate in candidates}
    plain = min((row.median_ms for _, row in rows if row.network == str(PLAIN) and row.median_ms), default=None)
    options = []
    for measured, row in rows:
        candidate = named[row.network]
        option = Option(
            candidate.operator,
            candidate.arguments,
            row.runtime,
            row.median_ms,
            row.median_ms / plain if row.median_ms and plain else None,
            row.params,
            row.macs,
            row.mac_ratio,
            *_NOT_TRAINED,
            row.p90_ms,
            row.peak_mib,
            measured,
            row.reason,
        )
        options.append(option.trained(trained.get(candidate)))
    return options


def _host(arch: str | None, config: str | None, overrides: Sequence[str]) -> Host:
    if (arch is None) == (config is None):
        raise UserError("name one network: a backbone, such as ResNet20, or a config")
    return Host.of_arch(arch, overrides) if arch else Host(str(config), tuple(overrides))
