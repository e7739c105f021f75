"""What was done to a network: a row for every place that was looked at, and the counts before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from paddle import nn

from ppeconv.counting import count
from ppeconv.layers.parameters import parameter_count
from ppeconv.surgery.fitting import Fit


@dataclass
class Row:
    """What happened at one place; `reason` says why it stayed as it was."""

    path: str
    before: str
    """What stood there: a convolution, or the channels of a feature map."""
    params_before: int
    after: str | None = None
    params_after: int | None = None
    reason: str = ""
    inherited: bool = False
    """Whether the weights of a convolution are those of the operator now."""
    fit: Fit | None = None
    """How near a layer came to the one it replaces, where it was fitted to it."""

    def __str__(self) -> str:
        if not self.after:
            return f"{self.before}  kept: {self.reason}"
        carried = ", weights carried over" if self.inherited else ""
        carried += f", {self.fit}" if self.fit else ""
        return f"{self.before}  -> {self.after}, parameters {self.params_before:,} -> {self.params_after:,}{carried}"


@dataclass
class Report:
    """What `replace_conv`, `recalibrate` or `replace_pool` did.

    Args:
        name: of the operator, recalibration block or head.
        verb: what was done, with {done} and {all} for the numbers of rows.
    """

    name: str
    verb: str
    rows: list[Row] = field(default_factory=list)
    params: tuple[int, int] = (0, 0)
    """Trainable parameters of the network before and after."""
    macs: tuple[int, int] | None = None
    """MACs before and after, batch 1, when an input size was given."""
    remarks: dict[str, list[str]] = field(default_factory=dict)
    """What to be aware of -> the paths of the layers that it is true of."""

    def remark(self, what: str, path: str) -> None:
        """Add a remark on a layer."""
        self.remarks.setdefault(what, []).append(path)

    def compare(self, before: Counted, after: Counted) -> None:
        """Note what the network was and is, as `counted` gives it."""
        self.params = before[0], after[0]
        self.macs = None if before[1] is None or after[1] is None else (before[1], after[1])

    @property
    def replaced(self) -> list[Row]:
        """Rows of the places where something new stands."""
        return [row for row in self.rows if row.after]

    @property
    def skipped(self) -> list[Row]:
        """Rows of the places that stayed, each with its reason."""
        return [row for row in self.rows if not row.after]

    def summary(self) -> str:
        """One line: how many there are and what that did to the counts."""
        done = self.verb.format(done=len(self.replaced), all=len(self.rows))
        text = f"{self.name}: {done}, parameters {self.params[0]:,} -> {self.params[1]:,}"
        return text + (f", MACs {self.macs[0]:,} -> {self.macs[1]:,}" if self.macs else "")

    def __str__(self) -> str:
        width = max((len(row.path) for row in self.rows), default=0)
        rows = [f"  {row.path:<{width}}  {row}" for row in self.rows]
        return "\n".join([self.summary(), *map(self._line, self.remarks), *rows])

    def _line(self, remark: str) -> str:
        paths, shown = self.remarks[remark], 3
        others = f" and {len(paths) - shown} more" if len(paths) > shown else ""
        return f"  note: {remark}: {', '.join(paths[:shown])}{others}"


Counted = tuple[int, int | None]
"""Trainable parameters, and MACs where they were counted."""


def counted(model: nn.Layer, input_size: Sequence[int] | None) -> Counted:
    """Of a network; MACs when an input size [N, C, H, W] is given."""
    if input_size is None:
        return parameter_count(model), None
    counts = count(model, input_size)
    return counts.params, counts.macs
