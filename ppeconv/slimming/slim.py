"""The Python face: a network of any kind and a budget -> a network that keeps it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from paddle import nn

from ppeconv.benchmark import machine
from ppeconv.choosing.sittings import How, runtimes_of
from ppeconv.domains import Positive, ShareOrAll
from ppeconv.engine.setup import select_backend, select_device
from ppeconv.errors import UserError
from ppeconv.extras import present
from ppeconv.layers.walk import exchange
from ppeconv.schema import Section, check
from ppeconv.schema.values import listed
from ppeconv.slimming.entries import entries
from ppeconv.slimming.images import FITTING, HELD_OUT, Images
from ppeconv.slimming.kept import alone
from ppeconv.slimming.learning import Loss, Score, cross_entropy, score
from ppeconv.slimming.measurements import Chosen, Measurements, Whole
from ppeconv.slimming.measuring import Change
from ppeconv.slimming.options import check_names
from ppeconv.slimming.search import Search
from ppeconv.surgery.warm_start import warm_start

ROUNDS = 9
TRIES = 4
"""How many choices are measured as a whole, at most."""
MARGIN = 0.02
"""Each choice that is over the budget has the next aim lower by this part: what is taken to be fast enough is often
what was measured faster than it is. Where that leads to what was measured before, the budget itself is aimed at."""
LEFT_OVER = 0.1
"""A choice that is faster than predicted by more than this part is made anew too, as it could keep more."""


class _Budget(Section):
    """What one of them may be."""

    budget: ShareOrAll = 1.0
    budget_ms: Positive = 1.0


@dataclass(frozen=True)
class Slimmed:
    """A network that keeps a budget."""

    model: nn.Layer
    """With fitted weights, in the mode of the network that it was made of."""
    operators: list[dict[str, Any]]
    """The section `Operator` of a config that makes it of that network."""
    chosen: Chosen
    measured_ms: float | None
    """As a whole, in milliseconds of the network as it was; None where nothing was measured."""
    score: Score
    """On the images held out."""
    measurements: Measurements
    """What the choice rests on, with the choices that were measured for it."""

    @property
    def error(self) -> float | None:
        """How far the measured time is from the predicted one, as a part of that; None where either is not known."""
        predicted_ms = self.chosen.predicted_ms
        return None if self.measured_ms is None or predicted_ms <= 0 else self.measured_ms / predicted_ms - 1

    @property
    def off(self) -> str:
        """The error in brackets, behind the measured time."""
        return "" if self.error is None else f" ({self.error:+.1%})"

    def __str__(self) -> str:
        chosen = self.chosen
        predicted = "no time" if chosen.predicted_ms <= 0 else f"{chosen.predicted_ms:.3g} ms"
        measured = "" if self.measured_ms is None else f", measured {self.measured_ms:.3g} ms{self.off}"
        measured += ", over the budget" if (self.measured_ms or 0.0) > chosen.budget_ms else ""
        return (
            f"{len(chosen.options)} layers changed: {predicted} predicted for {chosen.budget_ms:.3g} "
            f"ms{measured}; loss {chosen.predicted_loss:.3f} predicted, {self.score.loss:.3f} found, "
            f"top-1 {self.score.top1:.2%} on the images held out"
        )


def slim(
    model: nn.Layer,
    loader: Iterable[Any],
    budget: float | None = None,
    *,
    budget_ms: float | None = None,
    runtime: str = "paddle",
    batch_size: int = 1,
    threads: int | None = None,
    operators: str | Sequence[str] | None = None,
    keep: str | Sequence[str] = (),
    loss: Loss = cross_entropy,
    images: int = FITTING,
    held_out: int = HELD_OUT,
    rounds: int = ROUNDS,
    seed: int = 0,
    folder: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> Slimmed:
    """Make a trained network as fast as a budget asks for, at the least rise of the loss.

    Convolutions give way to operators, residual branches become narrower or are left out. Every option is measured on
    the runtime and fitted to what the network gives on real images; integer programming chooses (arXiv 2107.10624,
    LANA). Train what comes out for a few epochs more, best with the network as teacher.

    Args:
        model: a trained network, images [N, C, H, W] -> scores [N, classes]; it stays as it is.
        loader: batches (images, labels) of its training set, transformed as in evaluation.
        budget: share of the network's own latency, such as 0.5,
        budget_ms: or milliseconds.
        runtime: the name of one.
        batch_size, threads: of the latency; the threads of this process when not given.
        operators: names of operators and changes of branches that may be taken, as a list or with commas between; all
            when not given.
        keep: shell patterns of layers that stay as they are, likewise.
        loss: (what the network gives, labels [N, 1]) -> the mean loss.
        images, held_out: how many to fit on, and how many others to judge by.
        rounds: turns of each network when it is measured.
        seed: the same gives the same network.
        folder: where fits are kept, so that a run that was stopped goes on; nowhere when not given.
        say: gets lines on what is done.

    Raises:
        UserError: a name or a number is wrong, there is not one budget, another call is at work in the folder, or
            nothing is fast enough.
    """
    if (budget is None) == (budget_ms is None):
        raise UserError("give one budget: a share of the network's own latency, such as 0.5, or milliseconds")
    check(_Budget, {"budget": budget} if budget_ms is None else {"budget_ms": budget_ms})
    how = how_of(runtime, batch_size, threads, rounds)
    operators = None if operators is None else listed(operators)
    check_names(operators or ())
    select_backend("auto", select_device("auto"))
    keep = listed(keep)
    place = None if folder is None else Path(folder)
    with nullcontext() if place is None else alone(place):
        search = Search(model, Images.of(loader, images, held_out), how, operators, keep, loss, seed, place, say)
        measured = search.measurements()
        return slimmed(search, measured, budget_ms or (budget or 0.0) * measured.plain_ms)


def how_of(runtime: str, batch_size: int, threads: int | None, rounds: int) -> How:
    """How is measured; raises UserError where a name is wrong or a package is missing."""
    present("scipy", "slim")
    return How(tuple(runtimes_of([runtime])), batch_size, threads or machine.threads(), "deployed", rounds)


def slimmed(search: Search, measurements: Measurements, budget_ms: float, measure: bool = True) -> Slimmed:
    """The network for a budget: chosen, measured as a whole, fitted in order.

    Args:
        search: what has the network, the images and the fits.
        measurements: what the choice rests on.
        budget_ms: what the network may take.
        measure: whether it is measured; else it takes what the measurements have of it. Where it takes longer than the
            budget, or much less than predicted, it is chosen anew.
    """
    with search.phase("choose"):
        chosen, measured_ms, measurements = _chosen(search, measurements, budget_ms, measure)
    if (measured_ms or 0.0) > budget_ms:
        search.say(
            f"{measured_ms:.4g} ms is over the budget of {budget_ms:.4g} ms; measure anew on an idle machine with more "
            "rounds, or ask for less"
        )
    with search.phase("fit in order"):
        model = fitted(search, chosen)
    found = score(model, search.images, search.loss)
    return Slimmed(model, entries(search.positions, chosen), chosen, measured_ms, found, measurements)


def fitted(search: Search, chosen: Chosen) -> nn.Layer:
    """A copy of the network with what was chosen, fitted once more in the order in which layers run."""
    layers = {}
    for it in search.positions:
        if it.path in chosen.options:
            (found,) = search.learn(it, [chosen.options[it.path].option])
            layers[it.path] = copy.deepcopy(found.layer)
    model, whole = copy.deepcopy(search.model), [it for it in search.positions if it.path in layers]
    named = dict(model.named_sublayers(include_self=True))
    places = [(replace(it.site, layers=[named[it.path]]), layers[it.path]) for it in whole]
    warm_start(model, places, search.images.fitting)
    return exchange(model, {id(site.layers[0]): layer for site, layer in places})


def _chosen(
    search: Search, measurements: Measurements, budget_ms: float, measure: bool
) -> tuple[Chosen, float | None, Measurements]:
    """The choice, what it takes as a whole where that is known, and the measurements with all that was tried for it.

    Of those tried it is the one of the least predicted loss that keeps the budget, or the fastest where none does.
    """
    taken = partial(_measured, search, measurements) if measure else measurements.taken
    tried, now = list[tuple[Chosen, float]](), measurements.knowing([])
    chosen = now.choose(budget_ms)
    while (found_ms := taken(chosen)) is not None:
        tried.append((chosen, found_ms))
        now = now.knowing([*now.wholes, Whole(chosen.names, found_ms)])
        if len(tried) == TRIES or not _to_be_chosen_anew(chosen, found_ms):
            break
        careful_ms = budget_ms * (1 - MARGIN * sum(ms > budget_ms for _, ms in tried))
        aims = [replace(now.choose(max(ms, now.fastest_ms)), budget_ms=budget_ms) for ms in (careful_ms, budget_ms)]
        untried = [it for it in aims if now.taken(it) is None]
        if not untried:
            break
        search.say(f"{chosen.predicted_ms:.3g} ms predicted, {found_ms:.3g} ms measured: chosen anew, knowing that")
        chosen = untried[0]
    if found_ms is None and not (measure and tried):
        return measurements.choose(budget_ms), None, measurements
    return *min(reversed(tried), key=_worse), now


def _to_be_chosen_anew(chosen: Chosen, measured_ms: float) -> bool:
    """Whether it takes longer than it may, or could keep more."""
    return measured_ms > chosen.budget_ms or measured_ms < (1 - LEFT_OVER) * chosen.predicted_ms


def _worse(found: tuple[Chosen, float]) -> tuple[bool, float]:
    """More where a choice is a worse one."""
    chosen, measured_ms = found
    is_over = measured_ms > chosen.budget_ms
    return is_over, measured_ms if is_over else chosen.predicted_loss


def _measured(search: Search, measurements: Measurements, chosen: Chosen) -> float | None:
    if not chosen.options:
        return measurements.plain_ms
    change = Change.chosen(chosen.names)
    ratio = search.stopwatch.ratios([change]).get(change)
    return ratio and ratio * measurements.plain_ms
