"""What makes a network the one it is: whether weights were trained in the very one that is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from pydantic import BaseModel

from ppeconv.anywidth.width import require_kind
from ppeconv.backbones.external import is_external
from ppeconv.registry import BACKBONES, BRANCHES, OPERATORS, RECALIBRATIONS, placed
from ppeconv.schema import Section, check
from ppeconv.schema.values import copied
from ppeconv.surgery.rules import Blocks, Places, Rules

_ABOUT_WEIGHTS = {"name", "class_num", "pretrained", "init", "freeze"}
"""Keys of a config's section Arch that are no arguments of the backbone, or say how many classes there are."""
_CONVERSION: dict[str, Any] = {
    "widths": (1.0, 0.75, 0.5, 0.25),
    "min_width": 0.25,
    "divisor": 1,
    "whole": None,
}
"""What `make_anywidth` is told, and what it takes where it is not."""
_CLOSE = 1e-4
"""A width of 2**0.5 is the 1.4142 of a config."""


class Network:
    """A network but for its weights and the number of its classes.

    Args:
        backbone: its name.
        arguments: the backbone's; class_num has no say.
        operators: (name, own arguments, rules) of each operator, recalibration block or head, in their order.
        anywidth: arguments of `make_anywidth`.

    Raises:
        UserError: a name or an argument is none.
    """

    def __init__(
        self,
        backbone: str,
        arguments: Mapping[str, Any],
        operators: Iterable[tuple[str, Mapping[str, Any], Any]] = (),
        anywidth: Mapping[str, Any] | None = None,
    ):
        self.backbone = backbone if is_external(backbone) else BACKBONES.canonical(backbone)
        given = {key: value for key, value in arguments.items() if key != "class_num"}
        parts = [(self.backbone, *_of_backbone(self.backbone, given))]
        parts += [_of_operator(*operator) for operator in operators]
        if anywidth is not None:
            told = {key: value for key, value in anywidth.items() if key in _CONVERSION and value is not None}
            kind = anywidth.get("kind", "awn")
            require_kind(kind)
            parts.append((f"any-width {kind}", _CONVERSION | told, _CONVERSION))
        self._parts: list[tuple[str, dict[str, Any], dict[str, Any]]] = parts

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Network:
        """That of a whole config, as plain values."""
        arch, anywidth = config["Arch"], config["AnyWidth"]
        arguments = {key: value for key, value in arch.items() if key not in _ABOUT_WEIGHTS}
        if anywidth and anywidth["base_width"]:
            arguments["width"] = anywidth["base_width"]
        listed = config["Operator"] if isinstance(config["Operator"], Sequence) else [config["Operator"]]
        operators = [
            (
                section["name"],
                {key: value for key, value in section.items() if key not in ("name", "rules", "init")},
                section["rules"],
            )
            for section in listed
            if section
        ]
        return cls(arch["name"], arguments, operators, anywidth)

    def __str__(self) -> str:
        """Such as "ResNet20 (width=0.5), SPConv (ratio=0.25)": what differs from the defaults is named."""
        return ", ".join(_words(*part) for part in self._parts)

    @property
    def facts(self) -> dict[str, Any]:
        """All of its settings as plain values: the same for two that are the same network."""
        (name, arguments, _), *changes = self._parts
        return copied({"backbone": name, "arguments": arguments, "changes": [entry[:2] for entry in changes]})

    def same_as(self, other: Network) -> bool:
        """Whether the weights of one are weights of the other, the head apart where the classes are others."""
        return self.distance(other) == 0

    def distance(self, other: Network) -> float:
        """How many settings differ; another backbone counts for more, the more the less its name is alike."""
        ours, theirs = self._settings(), other._settings()
        different = sum(not _equal(ours.get(key), theirs.get(key)) for key in ours.keys() | theirs.keys())
        alike = SequenceMatcher(None, self.backbone.lower(), other.backbone.lower()).ratio()
        return different + 1000 * (1 - alike)

    def _settings(self) -> dict[tuple[int, str, str], Any]:
        """Every argument, by the place and the name of what it is of."""
        return {
            (position, name, key): value
            for position, (name, values, _) in enumerate(self._parts)
            for key, value in {"": name, **values}.items()
        }


def _of_backbone(name: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """All of its arguments, and their defaults."""
    if is_external(name):
        return dict(given), {}
    defaults = _defaults(BACKBONES.schema(name))
    defaults.pop("class_num", None)
    return {**defaults, **BACKBONES.check(name, given)}, defaults


def _defaults(schema: type[BaseModel]) -> dict[str, Any]:
    return {key: field.get_default() for key, field in schema.model_fields.items() if not field.is_required()}


def _of_operator(name: str, own: Mapping[str, Any], rules: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Its name, all of its arguments and rules, and their defaults."""
    choice = placed(name).choose(name, own)
    values, defaults = choice.own.model_dump(), _defaults(type(choice.own))
    if choice.kind is OPERATORS:
        usual = choice.make.default_rules
        values |= _rules(check(Rules, usual if rules is None else rules, "rules"))
        defaults |= _rules(check(Rules, usual))
    elif choice.kind is RECALIBRATIONS:
        values |= _rules(check(Places, rules or {}, "rules"))
        defaults |= _rules(Places())
    elif choice.kind is BRANCHES:
        values |= _rules(check(Blocks, rules or {}, "rules"))
        defaults |= _rules(Blocks())
    return choice.name, values, defaults


def _rules(section: Section) -> dict[str, Any]:
    return {f"rules.{key}": value for key, value in section.model_dump().items()}


def _words(name: str, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    said = [f"{key}={value}" for key, value in values.items() if not _equal(value, defaults.get(key))]
    return f"{name} ({', '.join(said)})" if said else name


def _equal(one: Any, other: Any) -> bool:
    """Equal, numbers nearly so, lists and tuples alike."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=_CLOSE)
    return bool(one == other)
