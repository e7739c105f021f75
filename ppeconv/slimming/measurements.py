"""All that a choice rests on, as a file: with it the choice can be made again without the machine."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ppeconv import files
from ppeconv.errors import UserError, first_line
from ppeconv.slimming.choice import Item, Taken, choose, cost_of, fastest, time_of
from ppeconv.slimming.options import Option

FORMAT = 1
Number = Annotated[float, Field(allow_inf_nan=False)]


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
    gain_ms: Number
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
class Measurements:
    """Of a network on a runtime."""

    facts: Facts
    plain_ms: Annotated[Number, Field(gt=0)]
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

    def choose(self, budget_ms: float) -> Chosen:
        """The options of least cost for a budget; raises UserError where nothing is fast enough."""
        return self._chosen(choose(self._items(), self._inside(), self.plain_ms, budget_ms), budget_ms)

    @property
    def fastest_ms(self) -> float:
        """The least that a choice can take."""
        items = self._items()
        return time_of(items, fastest(items, self._inside()), self.plain_ms)

    def corrected(self, share: float) -> Measurements:
        """With all gains multiplied, by what a network gained of what its parts had summed to."""
        spots = [
            dataclasses.replace(
                spot, judged=[dataclasses.replace(it, gain_ms=share * it.gain_ms) for it in spot.judged]
            )
            for spot in self.spots
        ]
        return dataclasses.replace(self, spots=spots)

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
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{file} holds no measurements of slim ({first_line(error)})") from None

    def only(self, paths: Collection[str], names: Collection[str] | None) -> Measurements:
        """Without other positions than these, and without options of other names."""
        spots = [
            dataclasses.replace(spot, judged=[it for it in spot.judged if names is None or it.name in names])
            for spot in self.spots
            if spot.path in paths
        ]
        return dataclasses.replace(self, spots=spots)

    def _items(self) -> list[list[Item]]:
        return [[it.item for it in spot.judged] for spot in self.spots]

    def _inside(self) -> dict[int, list[int]]:
        numbers = {spot.path: at for at, spot in enumerate(self.spots)}
        return {
            at: [numbers[path] for path in spot.inside if path in numbers]
            for at, spot in enumerate(self.spots)
            if spot.inside
        }

    def _chosen(self, taken: Taken, budget_ms: float) -> Chosen:
        items = self._items()
        options = {spot.path: spot.judged[at] for spot, at in zip(self.spots, taken, strict=True) if at is not None}
        macs = self.plain_macs - sum(it.macs for it in options.values())
        loss = self.loss + cost_of(items, taken)
        return Chosen(budget_ms, options, time_of(items, taken, self.plain_ms), loss, macs)


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
