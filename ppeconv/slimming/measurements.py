"""All that a choice rests on, as a file: with it the choice can be made again without the machine."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ppeconv import files
from ppeconv.benchmark.turns import KNOWN_TO
from ppeconv.errors import UserError, first_line
from ppeconv.slimming.agreement import agreeing
from ppeconv.slimming.choice import Item, choose, cost_of, fastest, time_of
from ppeconv.slimming.options import Option

FORMAT = 1
Number = Annotated[float, Field(allow_inf_nan=False)]
Gain = Annotated[float, Field(ge=-1e9, le=1e9)]
Milliseconds = Annotated[float, Field(ge=1e-6, le=1e9)]


class Facts(BaseModel):
    """What times depend on; further ones, such as the versions of runtimes, are for the reader's eyes."""

    model_config = ConfigDict(extra="allow", frozen=True)
    network: str
    """Its `fingerprint`."""
    cpu: str
    runtime: str
    batch_size: int
    threads: str
    ppeconv: str
    paddle: str
    seed: int | None = None
    """Of the fits."""
    weights: str | None = None
    """Digest of the network's; older files have none."""


@dataclass(frozen=True)
class Judged:
    """An option in one position."""

    name: str
    arguments: str
    gain_ms: Gain
    """What the whole network is faster by with it, in milliseconds."""
    rise: Number
    """Of the loss on images held out, when it alone stands in."""
    error: Number
    """Relative, of what it gives on the images of the fit."""
    macs: int
    """What the network has less of, for one image."""

    @property
    def option(self) -> Option:
        """What it is."""
        return Option(self.name, self.arguments)

    @property
    def item(self) -> Item:
        """For the choice."""
        return Item(self.gain_ms, self.rise, self.macs)


@dataclass(frozen=True)
class Spot:
    """A position, and what may stand there."""

    path: str
    geometry: str
    inside: list[str] = field(default_factory=list)
    """Paths of the spots in it."""
    judged: list[Judged] = field(default_factory=list)


@dataclass(frozen=True)
class Whole:
    """A choice that was measured."""

    options: dict[str, Option]
    """Path -> option, where something else stands than before."""
    ms: Milliseconds
    """In milliseconds of the network as it was."""


@dataclass(frozen=True)
class Measurements:
    """Of a network on a runtime."""

    facts: Facts
    plain_ms: Milliseconds
    plain_macs: int
    loss: Number
    """Of the network as it is, on images held out."""
    top1: Number
    """On the same."""
    spots: list[Spot]
    ratios: dict[str, dict[str, Number]]
    """Geometry -> option -> time of the network with it in all its positions, divided by that of the network as it is;
    those that were not fitted, as they are not faster, too."""
    images: str = ""
    wholes: list[Whole] = field(default_factory=list)
    """Choices that were measured, in this order; predictions agree with them."""

    def choose(self, budget_ms: float) -> Chosen:
        """The options of least cost for a budget; raises UserError where nothing is fast enough."""
        spots = self._expected()
        items = _items(spots)
        taken = choose(items, self._inside(), self.plain_ms, budget_ms)
        options = {spot.path: spot.judged[at] for spot, at in zip(spots, taken, strict=True) if at is not None}
        macs = self.plain_macs - sum(it.macs for it in options.values())
        loss = self.loss + cost_of(items, taken)
        return Chosen(budget_ms, options, time_of(items, taken, self.plain_ms), loss, macs)

    @property
    def fastest_ms(self) -> float:
        """The least that a choice can take."""
        items = _items(self._expected())
        return time_of(items, fastest(items, self._inside()), self.plain_ms)

    @property
    def doubts(self) -> list[str]:
        """Sentences on why predictions may be worth little."""
        rises = [it.rise for spot in self.spots for it in spot.judged]
        found = []
        if self.fastest_ms <= 0:
            found.append(
                "the gains of the parts sum to more than the network takes, so that the machine was too busy to "
                "measure; take --measure-again, on an idle machine and with more --rounds"
            )
        if 2 * sum(rise < 0 for rise in rises) > len(rises):
            found.append(
                f"most changes lower the loss, {self.loss:.3g}, so that the network seems hardly trained and there is "
                "nothing for them to keep; train it first"
            )
        return found

    def knowing(self, wholes: Sequence[Whole]) -> Measurements:
        """With these choices measured, in place of others."""
        return dataclasses.replace(self, wholes=list(wholes))

    def taken(self, chosen: Chosen) -> float | None:
        """Milliseconds that a choice took as a whole; None where it was not measured."""
        return next((it.ms for it in self.wholes if it.options == chosen.names), None)

    def write(self, file: Path) -> None:
        """As JSON."""
        content = {"format": FORMAT, **_MEASUREMENTS.dump_python(self)}
        files.write_whole(file, json.dumps(content, indent=1, ensure_ascii=False).encode())

    @classmethod
    def read(cls, file: Path) -> Measurements:
        """What `write` wrote; raises UserError for anything else."""
        try:
            content = json.loads(files.read(file, files.TEXT))
            if content.pop("format") != FORMAT:
                raise ValueError("it is of another format")
            found = _MEASUREMENTS.validate_python(content)
            for option in {it.option for spot in found.spots for it in spot.judged}:
                option.checked()
            return found
        except OSError as error:
            raise UserError(f"cannot read the measurements {file}: {error.strerror}") from None
        except (UserError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{file} holds no measurements of slim ({first_line(error)})") from None

    def only(self, paths: Collection[str], names: Collection[str] | None) -> Measurements:
        """Without other positions than these, and without options of other names."""
        spots = [
            dataclasses.replace(spot, judged=[it for it in spot.judged if names is None or it.name in names])
            for spot in self.spots
            if spot.path in paths
        ]
        return dataclasses.replace(self, spots=spots)

    def _expected(self) -> list[Spot]:
        """With gains that agree with the choices that were measured, as far as these have no other options."""
        parts = {(spot.path, it.option): (spot.geometry, it.option) for spot in self.spots for it in spot.judged}
        gains = {(spot.geometry, it.option): it.gain_ms for spot in self.spots for it in spot.judged}
        wholes = [it for it in self.wholes if it.options.items() <= parts.keys()]
        counts = [Counter(parts[part] for part in it.options.items()) for it in wholes]
        found = agreeing(
            np.array(list(gains.values())),
            np.array([[count[part] for part in gains] for count in counts]).reshape(len(wholes), len(gains)),
            np.array([self.plain_ms - it.ms for it in wholes]),
            KNOWN_TO * self.plain_ms,
        )
        expected = dict(zip(gains, found.tolist(), strict=True))
        return [
            dataclasses.replace(
                spot,
                judged=[dataclasses.replace(it, gain_ms=expected[spot.geometry, it.option]) for it in spot.judged],
            )
            for spot in self.spots
        ]

    def _inside(self) -> dict[int, list[int]]:
        numbers = {spot.path: at for at, spot in enumerate(self.spots)}
        return {
            at: [numbers[path] for path in spot.inside if path in numbers]
            for at, spot in enumerate(self.spots)
            if spot.inside
        }


def _items(spots: Sequence[Spot]) -> list[list[Item]]:
    return [[it.item for it in spot.judged] for spot in spots]


_MEASUREMENTS = TypeAdapter(Measurements)


@dataclass(frozen=True)
class Chosen:
    """What stands where, for a budget."""

    budget_ms: float
    options: dict[str, Judged]
    """Path -> option, where something else stands than before."""
    predicted_ms: float
    predicted_loss: float
    macs: int
    """Of the whole network, for one image."""

    @property
    def names(self) -> dict[str, Option]:
        """Path -> option, without what is known of it."""
        return {path: it.option for path, it in self.options.items()}
