"""Which network to take for a time: a choice among measured ones, and the sentence that gives its reason."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ppeconv.choosing.accuracies import Accuracy
from ppeconv.choosing.candidates import PLAIN, Candidate
from ppeconv.choosing.pareto import Point
from ppeconv.choosing.plain_line import at_equal_cost, judge
from ppeconv.errors import UserError

Verdict = Literal["plain", "narrower", "operator", "nothing"]


@dataclass(frozen=True)
class Option:
    """A candidate on one runtime."""

    operator: str
    arguments: str
    """See `Candidate`."""
    runtime: str
    latency_ms: float | None
    """Median of one call; None where the runtime cannot run it."""
    ratio: float | None
    """Divided by the plain network's latency on its fastest runtime."""
    params: int
    macs: int
    """For one image, of the trained form."""
    mac_ratio: float
    """Divided by the plain network's."""
    top1: float | None
    """In the zoo; a fraction."""
    data: str
    epochs: int | None
    seeds: str
    """What `top1` is of, separated by spaces."""
    p90_ms: float | None
    peak_mib: float | None
    measured: str
    """When, in UTC."""
    reason: str
    """Why there is no latency."""

    @property
    def candidate(self) -> Candidate:
        """What it is."""
        return Candidate(self.operator, self.arguments)

    def trained(self, accuracy: Accuracy | None) -> Option:
        """With an accuracy, where one is known."""
        if accuracy is None:
            return self
        seeds = " ".join(map(str, accuracy.seeds))
        return dataclasses.replace(self, top1=accuracy.top1, data=accuracy.data, epochs=accuracy.epochs, seeds=seeds)

    def __str__(self) -> str:
        return f"{self.candidate} ({self.latency_ms:.3g} ms on {self.runtime}, {self.ratio:.2f} of the plain network's)"


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why."""

    verdict: Verdict
    taken: Option
    """The fastest one where nothing fits."""
    sentence: str


def fastest(options: Sequence[Option]) -> list[Option]:
    """Each candidate that ran on its fastest runtime, the fastest candidate first."""
    best: dict[Candidate, Option] = {}
    for option in options:
        before = best.get(option.candidate)
        if option.latency_ms is not None and (before is None or option.latency_ms < _ms(before)):
            best[option.candidate] = option
    return sorted(best.values(), key=_ms)


def plain_latency(options: Sequence[Option]) -> float:
    """Of the plain network on its fastest runtime; raises UserError where it ran on none."""
    found = [option for option in fastest(options) if option.candidate == PLAIN]
    if not found:
        raise UserError("the plain network ran on no runtime, so that nothing can be compared with it")
    return _ms(found[0])


def choose(options: Sequence[Option], budget_ms: float) -> Choice:
    """What to take for a latency, each candidate on its fastest runtime.

    The plain network where it fits. Else, where an operator that fits has a known accuracy, the most accurate of what
    fits and was trained, the plain one of equals. Else what does the most multiply-adds of what fits, a proxy: of
    networks of one design, those that compute more are on the whole more accurate (arXiv 2210.03230 finds parameters
    and FLOPs among the best of the predictors that need no training), and what an operator's design adds to that is
    not seen by it.
    """
    best, plain_ms = fastest(options), plain_latency(options)
    fits = [option for option in best if _ms(option) <= budget_ms]
    if not fits:
        first = best[0]
        return Choice("nothing", first, f"Nothing fits {budget_ms:.3g} ms; the fastest possible is {first}.")
    if plain_ms <= budget_ms:
        plain = next(option for option in fits if option.candidate == PLAIN)
        why = f"The plain network is enough: it takes {plain_ms:.3g} ms on {plain.runtime}, of {budget_ms:.3g} ms."
        return Choice("plain", plain, why)
    if any(option.top1 is not None and not option.candidate.is_plain for option in fits):
        return _by_accuracy(fits, best)
    return _by_work(fits)


def _by_accuracy(fits: Sequence[Option], best: Sequence[Option]) -> Choice:
    trained = sorted((option for option in fits if option.top1 is not None), key=_accuracy, reverse=True)
    taken = max(trained, key=lambda option: (_accuracy(option), option.candidate.is_plain, -_ms(option)))
    plains = [option for option in trained if option.candidate.is_plain]
    operator = next(option for option in trained if not option.candidate.is_plain)
    untrained = len(fits) - len(trained)
    rest = f"; of {untrained} more that fit the accuracy is not known" if untrained else ""
    if taken.candidate.is_plain:
        against = f"{_top1(taken)}, and the best operator that fits is {operator} with {_top1(operator)}"
        if judge(_point(operator), _plain_line(best)).standing == "better":
            against += ", which is more than plain networks have in its time, so that a wider one with it may be better"
        return Choice("narrower", taken, f"A narrower plain network is better: {taken} has {against}{rest}.")
    if plains:
        ahead = 100 * (_accuracy(taken) - _accuracy(plains[0]))
        against = f", {ahead:.1f} points more than the best narrower plain network that fits, {plains[0]}"
    else:
        against = "; whether a narrower plain network is better is not known, as none that fits was trained"
    return Choice("operator", taken, f"Take {taken}: it has {_top1(taken)}{against}{_line(taken, best)}{rest}.")


def _line(taken: Option, best: Sequence[Option]) -> str:
    """What the line through the plain networks has at an operator's latency, where that is more."""
    expected = at_equal_cost(_plain_line(best), _ms(taken))
    if expected is None or expected < _accuracy(taken):
        return ""
    return f"; but a plain network of a width between these may have {expected:.2%} in the same time (interpolated)"


def _plain_line(best: Sequence[Option]) -> list[Point]:
    """The plain networks that were trained."""
    return [_point(option) for option in best if option.candidate.is_plain and option.top1 is not None]


def _point(option: Option) -> Point:
    return Point(str(option.candidate), _ms(option), _accuracy(option))


def _by_work(fits: Sequence[Option]) -> Choice:
    taken = max(fits, key=lambda option: (option.macs, option.params, option.candidate.is_plain, -_ms(option)))
    others = [option for option in fits if option.candidate.is_plain != taken.candidate.is_plain]
    reason = (
        f"of what fits it keeps the most multiply-adds, {taken.mac_ratio:.0%} of the plain network's, a proxy, "
        "as no operator that fits was trained in the zoo"
    )
    if others:
        other = max(others, key=lambda option: (option.macs, option.params))
        reason += f"; train it beside {other} to know"
    if all(option.candidate.is_plain for option in fits):
        why = (
            f"A narrower plain network is better: no operator fits, and {taken} is the widest plain network that does."
        )
        return Choice("narrower", taken, why)
    if taken.candidate.is_plain:
        return Choice("narrower", taken, f"A narrower plain network is better by a proxy, {taken}: {reason}.")
    return Choice("operator", taken, f"Take {taken}: {reason}.")


def _ms(option: Option) -> float:
    return math.inf if option.latency_ms is None else option.latency_ms


def _accuracy(option: Option) -> float:
    return -1.0 if option.top1 is None else option.top1


def _top1(option: Option) -> str:
    return f"a top-1 of {option.top1:.2%}"
