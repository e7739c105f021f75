"""What may stand in a position: operators with a few settings each, and changes of residual branches."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import nn

from ppeconv.branches.change import refusal as refusal_of_branch
from ppeconv.choosing.candidates import variants
from ppeconv.errors import UserError
from ppeconv.registry import BRANCHES, OPERATORS, Choice, Registry, placed
from ppeconv.schema.values import from_yaml, on_one_line
from ppeconv.slimming.positions import Position
from ppeconv.surgery.remarks import refusal
from ppeconv.surgery.replace import made_for

PLAIN = "Conv2D"


@dataclass(frozen=True)
class Option:
    """An operator or a change of branches with its own arguments."""

    name: str
    arguments: str = ""
    """In YAML: "ratio: 0.25"."""

    @property
    def own(self) -> dict[str, Any]:
        """The arguments."""
        return dict(from_yaml(f"{{{self.arguments}}}", "the arguments"))

    @property
    def choice(self) -> Choice:
        """The class with its arguments."""
        return placed(self.name).choose(self.name, self.own)

    def checked(self) -> Option:
        """Itself; raises UserError where there is no such operator or change, or it does not take the arguments."""
        placed(self.name).choose(self.name, self.own)
        return self

    def refusal(self, position: Position) -> str:
        """Why it cannot stand in a position; empty where it can."""
        registry = _registry(position)
        if not registry.knows(self.name):
            return f"it is no {registry.kind}"
        return _refusal(registry.choose(self.name, self.own), position)

    def made(self, position: Position, seed: int = 0) -> nn.Layer:
        """What stands in a position then, with what it can take over of the weights there; the rest is random."""
        paddle.seed(zlib.crc32(f"{seed} {position.path} {self}".encode()))
        choice = self.choice
        if position.block:
            return choice.make.changed(position.block, choice.own)
        position.site.own = choice.own
        return made_for(position.site, choice.make)[0]

    def __str__(self) -> str:
        return f"{self.name} ({self.arguments})" if self.arguments else self.name


def options(position: Position, names: Sequence[str] | None = None) -> list[Option]:
    """All that can stand in a position.

    Operators are taken with their default arguments and with those of shipped configs and of the zoo's rows.

    Args:
        position: a convolution or a block.
        names: of operators and changes of branches; all when not given.
    """
    registry = _registry(position)
    wanted = registry.names() if names is None else [registry.canonical(it) for it in names if registry.knows(it)]
    found: dict[tuple[str, str], Option] = {}
    for name in wanted:
        for own in _settings(name):
            choice = registry.choose(name, own)
            if not _refusal(choice, position):
                found.setdefault((name, repr(choice.own)), Option(name, on_one_line(own)[1:-1]))
    return list(found.values())


def check_names(names: Sequence[str]) -> None:
    """Raise a UserError for a name that is neither an operator nor a change of branches."""
    for name in names:
        registry = placed(name)
        if registry not in (OPERATORS, BRANCHES):
            raise UserError(f"{name} stands in place of no convolution or residual block; slim takes those that do")
        if registry.canonical(name) == PLAIN:
            raise UserError(f"{name} is what stands there; slim takes what may stand in its place")


def _settings(name: str) -> Iterator[dict[str, Any]]:
    if BRANCHES.knows(name):
        yield from BRANCHES.get(name).tried
    elif name != PLAIN:
        for arguments in variants(name):
            rules = arguments.get("rules") or {}
            if not rules.get("pairs") and not rules.get("flow"):
                yield {key: value for key, value in arguments.items() if key != "rules"}


def _registry(position: Position) -> Registry:
    return BRANCHES if position.block else OPERATORS


def _refusal(choice: Choice, position: Position) -> str:
    if position.block:
        return refusal_of_branch(choice, position.block)
    return refusal(choice.make, position.site.geometry, choice.own)
