"""What options gain in the network itself: all positions of a geometry changed at once, beside the network as it is."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paddle import nn

from ppeconv.benchmark.networks import Network
from ppeconv.choosing.kept import Kept, depends_on, measured_or_kept
from ppeconv.choosing.sittings import How, Sitting, together
from ppeconv.errors import UserError
from ppeconv.slimming.options import Option
from ppeconv.slimming.positions import Position


@dataclass(frozen=True)
class Change:
    """Options in some positions of a network; none is the network as it is."""

    name: str
    options: tuple[tuple[str, Option], ...] = ()
    """(path of a position, option)."""

    @classmethod
    def everywhere(cls, group: Sequence[Position], option: Option) -> Change:
        """An option in all positions of a geometry."""
        return cls(f"{option} for {group[0].geometry}", tuple((it.path, option) for it in group))

    @classmethod
    def chosen(cls, options: Mapping[str, Option]) -> Change:
        """A choice: path of a position -> option."""
        text = "; ".join(f"{path}: {option}" for path, option in sorted(options.items()))
        return cls(f"choice {hashlib.sha256(text.encode()).hexdigest()[:12]}", tuple(sorted(options.items())))

    def __str__(self) -> str:
        return self.name


UNCHANGED = Change("plain")


class Stopwatch:
    """Times of changes of one network, each beside the network as it is in the same sitting, kept on disk.

    Args:
        model: the network.
        positions: of it.
        image_shape: [C, H, W].
        how: on one runtime.
        say: gets a line for each sitting.
        cache: folder of what was measured before; the user's when not given.
        again: forget what was measured before.
    """

    def __init__(
        self,
        model: nn.Layer,
        positions: Sequence[Position],
        image_shape: Sequence[int],
        how: How,
        say: Callable[[str], None] = print,
        cache: Path | None = None,
        again: bool = False,
    ):
        self.model, self.positions, self.image_shape, self.how, self.say = model, positions, image_shape, how, say
        self.facts = depends_on(how, fingerprint(model, image_shape))
        self._kept, self._again = Kept(self.facts, cache), again
        self._sittings: list[Sitting] = []

    def ratios(self, changes: Sequence[Change]) -> dict[Change, float]:
        """Time divided by that of the network as it is; what the runtime cannot run is left out."""
        found = measured_or_kept(self._kept, UNCHANGED, changes, self.how, self._network, self.say, self._again)
        asked = {str(it) for it in changes}
        self._sittings = [it for it in found if asked & {row.network for row in it.rows}] or found
        self._again = False
        rows = {row.network: row for _, row in together(found) if row.runtime in self.how.runtimes}
        ratios = {it: row.time_ratio for it in changes if (row := rows.get(str(it)))}
        return {it: ratio for it, ratio in ratios.items() if ratio is not None}

    @property
    def plain_ms(self) -> float:
        """Of the network as it is, the median over the sittings of the changes last asked for, so that it is the same
        whatever else was measured; raises UserError where the runtime cannot run it."""
        if not self._sittings:
            self.ratios([])
        rows = [row for _, row in together(self._sittings) if row.network == str(UNCHANGED)]
        rows = [row for row in rows if row.runtime in self.how.runtimes]
        if not rows or rows[0].median_ms is None:
            raise UserError(f"the network does not run on {self.how.runtimes[0]}: {rows[0].reason if rows else ''}")
        return rows[0].median_ms

    def _network(self, change: Change) -> Network:
        """Untrained where it is changed; raises UserError where it cannot be built."""
        options = dict(change.options)
        layers = {id(it.layer): options[it.path].made(it) for it in self.positions if it.path in options}
        return Network(str(change), copy.deepcopy(self.model, layers), self.image_shape, 0)


def fingerprint(model: nn.Layer, image_shape: Sequence[int]) -> str:
    """The same for networks whose layers and images are the same, whatever their weights."""
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    return hashlib.sha256(f"{model!r} {shapes} {list(image_shape)}".encode()).hexdigest()
