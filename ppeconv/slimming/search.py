"""From a trained network to measurements: positions, a shortlist, times in the network, fits."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from paddle import nn

from ppeconv import observe
from ppeconv.choosing.sittings import How
from ppeconv.counting import count
from ppeconv.engine.progress import worked_off
from ppeconv.errors import UserError
from ppeconv.slimming.images import Images
from ppeconv.slimming.kept import Kept
from ppeconv.slimming.learning import Learned, Loss, cross_entropy, learn, score
from ppeconv.slimming.measurements import Facts, Judged, Measurements, Spot
from ppeconv.slimming.measuring import Change, Stopwatch
from ppeconv.slimming.options import Option
from ppeconv.slimming.positions import Position, groups, positions
from ppeconv.slimming.shortlist import alone_on, shortlist

LASTING = "shortlist", "measure", "fit"
"""Phases whose results are kept, so that the times of runs that were stopped add up."""
SHORT_FIT = 2
"""Batches of the short fits."""


@dataclass
class Search:
    """What is looked for and how; everything is made once, when it is first asked for.

    Args:
        model: the trained network; it is as before after each step.
        images: real ones.
        how: of the measurement, on one runtime.
        names: operators and changes of branches that may be taken; all when not given.
        keep: shell patterns of layers that stay as they are.
        loss: what is to rise little.
        seed: of weights and orders.
        folder: where fits are kept; nowhere when not given.
        say: gets lines on what is done.
        cache: folder of what was measured before; the user's when not given.
        again: measure what was measured before anew.
    """

    model: nn.Layer
    images: Images
    how: How
    names: Sequence[str] | None = None
    keep: Sequence[str] = ()
    loss: Loss = cross_entropy
    seed: int = 0
    folder: Path | None = None
    say: Callable[[str], None] = print
    cache: Path | None = None
    again: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    """Of each phase; of those that last with what stopped runs took, of the others the last time."""

    def __post_init__(self) -> None:
        shape = self.images.shape
        observe.require_fit(self.model, shape)
        self.positions = positions(self.model, shape, self.keep)
        if not self.positions:
            raise UserError(f"{type(self.model).__name__} has nothing that could be replaced")
        self.stopwatch = Stopwatch(self.model, self.positions, shape, self.how, self.say, self.cache, self.again)
        self.say(str(self.images))
        self.start = score(self.model, self.images, self.loss)
        self.weights = weights_digest(self.model)
        loss = f"{self.start.loss:.4g}"  # another loss is another number, and functions have no digest
        facts = {"weights": self.weights, "images": self.images.digest, "loss": loss, "seed": self.seed}
        self.kept = Kept(self.folder, facts)
        self._of = {**self.stopwatch.facts, "runtime": self.how.runtimes[0], "names": self.names and list(self.names)}
        made_anew = ("shortlist", "measure") if self.again else ()
        self.seconds = {name: value for name, value in self.kept.seconds(self._of).items() if name not in made_anew}
        self.learned: dict[tuple[str, Option], Learned] = {}

    def measurements(self) -> Measurements:
        """Shortlist, measure, fit and judge."""
        together = groups(self.positions)
        with self.phase("shortlist"):
            listed = {name: self._shortlist(group) for name, group in self._shown(together, "[Slim][Shortlist]")}
        with self.phase("measure"):
            ratios = self._measured(together, listed)
        plain_ms = self.stopwatch.plain_ms
        spots = []
        with self.phase("fit"):
            for it in worked_off(self.positions, "[Slim][Fit]", "layer"):
                faster = {option: ratio for option, ratio in ratios[it.geometry].items() if ratio < 1}
                number = len(together[it.geometry])
                gains = {option: (1 - ratio) * plain_ms / number for option, ratio in faster.items()}
                fitted = [found for found in self.learn(it, list(faster)) if self._has_numbers(it, found)]
                judged = [self._judged(it, found, gains[found.option]) for found in fitted]
                spots.append(Spot(it.path, it.geometry, it.inside, judged))
        found = Measurements(
            Facts(**self.stopwatch.facts, runtime=self.how.runtimes[0], seed=self.seed, weights=self.weights),
            plain_ms,
            count(self.model, self.images.shape).macs,
            self.start.loss,
            self.start.top1,
            spots,
            {name: {str(option): ratio for option, ratio in found.items()} for name, found in ratios.items()},
            str(self.images),
        )
        for doubt in found.doubts:
            self.say(doubt)
        return found

    def learn(self, position: Position, options: Sequence[Option]) -> list[Learned]:
        """Options fitted in a position, each once."""
        new = [it for it in options if (position.path, it) not in self.learned]
        found = learn(self.model, position, new, self.images, self.loss, self.start, self.seed, self.kept)
        self.learned |= {(position.path, it.option): it for it in found}
        return [self.learned[position.path, it] for it in options]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What is done inside a `with` block counts as this phase, and its time is said."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            before = self.seconds.get(name, 0.0) if name in LASTING else 0.0
            self.seconds[name] = before + time.perf_counter() - begin
            self.kept.keep_seconds(self._of, {it: value for it, value in self.seconds.items() if it in LASTING})
        self.say(f"{name}: {self.seconds[name]:.0f} s")

    def _shortlist(self, group: Sequence[Position]) -> list[Option]:
        batches = self.images.fitting[:SHORT_FIT]
        measure = alone_on(self.how.runtimes[0], self.how.batch_size, self.how.threads)
        known = None if self.again else self.kept.shortlist(group[0].geometry, self._of)
        if known is None:
            found = shortlist(self.model, group, self.names, batches, measure, self.seed)
            known = [it.option for it in found]
            self.kept.keep_shortlist(group[0].geometry, self._of, known)
        return known

    def _measured(
        self, together: dict[str, list[Position]], listed: dict[str, list[Option]]
    ) -> dict[str, dict[Option, float]]:
        changes = {
            (name, option): Change.everywhere(group, option)
            for name, group in together.items()
            for option in listed[name]
        }
        found = self.stopwatch.ratios(list(changes.values()))
        return {
            name: {option: found[it] for option in listed[name] if (it := changes[name, option]) in found}
            for name in together
        }

    def _has_numbers(self, position: Position, found: Learned) -> bool:
        """Whether a fit came out; says so where it did not."""
        fine = isfinite(found.rise) and isfinite(found.error)
        if not fine:
            self.say(f"{position.path}: {found.option} is left out, as its fit gives numbers that are not finite")
        return fine

    def _judged(self, position: Position, found: Learned, gain_ms: float) -> Judged:
        macs = [count(layer, [1, *position.in_shape]).macs for layer in (position.layer, found.layer)]
        option = found.option
        return Judged(option.name, option.arguments, gain_ms, found.rise, found.error, macs[0] - macs[1])

    def _shown(self, together: dict[str, list[Position]], head: str) -> Iterator[tuple[str, list[Position]]]:
        return worked_off(list(together.items()), head, "geometry")


def weights_digest(model: nn.Layer) -> str:
    """The same for the same weights."""
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        found.update(name.encode())
        found.update(value.numpy().tobytes())
    return found.hexdigest()
