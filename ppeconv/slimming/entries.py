"""A choice as the section `Operator` of a config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppeconv.geometry import ConvGeometry
from ppeconv.registry import BRANCHES
from ppeconv.slimming.measurements import Chosen
from ppeconv.slimming.options import Option
from ppeconv.slimming.positions import Position
from ppeconv.surgery.rules import Rules


def entries(positions: Sequence[Position], chosen: Chosen) -> list[dict[str, Any]]:
    """An entry for each option that was chosen, with the paths where it stands; changes of branches come first."""
    together: dict[tuple[Option, tuple], list[str]] = {}
    for it in positions:
        if it.path in chosen.options:
            option = chosen.options[it.path].option
            rules = {} if it.block else _rules(it.site.geometry)
            together.setdefault((option, tuple(rules.items())), []).append(it.path)
    ordered = sorted(together.items(), key=lambda entry: not BRANCHES.knows(entry[0][0].name))
    return [
        {"name": option.name, **option.own, "rules": {"include": [_pattern(path) for path in paths], **dict(rules)}}
        for (option, rules), paths in ordered
    ]


def _rules(geometry: ConvGeometry) -> dict[str, Any]:
    """What lets an operator stand in for a convolution, where that differs from the defaults of `Rules`."""
    rules: dict[str, Any] = {}
    if max(geometry.kernel_size) < Rules().min_kernel:
        rules["min_kernel"] = 1
    if geometry.groups > 1:
        rules["groups"] = "depthwise" if geometry.depthwise else "grouped"
    return rules


def _pattern(path: str) -> str:
    """A shell pattern that matches a path alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)
