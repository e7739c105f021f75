"""Plain values (mappings, lists, texts, numbers) from YAML text and back."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ppeconv.errors import UserError

_MOST = 100_000
"""Values that one text may hold; with anchors, a few lines can say billions."""


def listed(given: str | Sequence[str]) -> list[str]:
    """Names from a list, or from one text with commas between them."""
    return given.split(",") if isinstance(given, str) else list(given)


class _Loader(yaml.SafeLoader):
    """YAML without code, in which a key stands once and numbers are decimal.

    3e-4 is one (YAML 1.1 wants 3.0e-4); 0x10, 010 (8 in YAML 1.1), 1:30 (90) and dates are text.
    """

    def __init__(self, text: str):
        super().__init__(text)
        self._left = 2 * _MOST  # a value has one key at most

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._left -= 1
        if self._left < 0:
            raise OverflowError(f"holds more than {_MOST:,} values")
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError):  # what the makers of numbers and dates raise
            problem = f"{str(node.value)[:40]!r} cannot be read as {node.tag.rpartition(':')[2]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes the strings that `_Loader` would take for numbers."""


_INTEGER, _FLOAT, _DATE = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp"
_NUMBERS = {
    _INTEGER: re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$"),
    _FLOAT: re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
        r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    ),
}
_Loader.yaml_implicit_resolvers = {
    first: [entry for entry in resolvers if entry[0] not in (_INTEGER, _FLOAT, _DATE)]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
for _flavour in (_Loader, _Dumper):
    for _tag, _pattern in _NUMBERS.items():
        _flavour.add_implicit_resolver(_tag, _pattern, list("-+.0123456789"))


def from_yaml(text: str, where: str) -> Any:
    """What a YAML text holds; `where` names it in the error."""
    try:
        return copied(yaml.load(text, _Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"{where} is not valid YAML{place}: {getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise UserError(f"{where} is nested too deeply") from None
    except OverflowError as error:
        raise UserError(f"{where} {error}") from None


def to_yaml(values: Mapping[str, Any]) -> str:
    """Plain values as YAML, innermost lists and mappings on one line."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def on_one_line(values: Mapping[str, Any]) -> str:
    """Plain values as YAML on one line, as behind -o."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31, default_flow_style=True)[
        :-1
    ]


def same_name(one: Any, other: Any) -> bool:
    """Whether two names mean the same thing: registries look at no letter case."""
    return str(one).lower() == str(other).lower()


def copied(value: Any) -> Any:
    """The value with what it shares in several places written out, so that a change in one place changes no other.

    Tuples become lists and paths texts, as YAML has neither.
    """
    return _copied(value, [_MOST])


def _copied(value: Any, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise OverflowError(f"holds more than {_MOST:,} values once its anchors are written out")
    if isinstance(value, Mapping):
        return {key: _copied(inner, left) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(inner, left) for inner in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
