"""How a declared type reads: `an integer from 1 to 10`, `a list of 2, each a number above 0, the smaller first`."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def declared(field: FieldInfo) -> Any:
    """The type of a model's field as it was written, bounds included."""
    annotation: Any = field.annotation
    for bound in field.metadata:
        annotation = Annotated[annotation, bound]
    return annotation


def unwrapped(annotation: Any) -> tuple[Any, list[Any]]:
    """A declared type and what bounds it."""
    if typing.get_origin(annotation) is not Annotated:
        return annotation, []
    inner, *extra = typing.get_args(annotation)
    constraints = [part for entry in extra for part in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]
    return inner, constraints


def alternatives(annotation: Any) -> list[Any]:
    """The types of a union; a single type alone."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [part for inner in typing.get_args(annotation) for part in alternatives(inner)]
    return [annotation]


def items(annotation: Any) -> Any:
    """The type of a list's items, or None where it is no list."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    return inner[0] if inspect.isclass(origin) and issubclass(origin, Sequence) else None


def limits(constraints: Sequence[Any]) -> list[tuple[str, float]]:
    """(sign, number) of each bound, the lower one first."""
    signs = (("ge", "≥"), ("gt", "＞"), ("le", "≤"), ("lt", "＜"))
    return [
        (sign, bound)
        for name, sign in signs
        for limit in constraints
        if (bound := getattr(limit, name, None)) is not None
    ]


def lengths(constraints: Sequence[Any]) -> tuple[int, int | None]:
    """Fewest and most items of a list."""
    least = [limit.min_length for limit in constraints if hasattr(limit, "min_length")]
    most = [limit.max_length for limit in constraints if hasattr(limit, "max_length")]
    return max(least, default=0), min(most, default=None)


def rules(constraints: Sequence[Any]) -> list[str]:
    """The words of what bounds cannot say."""
    return [limit.func.words for limit in constraints if hasattr(getattr(limit, "func", None), "words")]


def number(value: float) -> str:
    """A bound in figures."""
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def words(annotation: Any) -> str:
    """A declared type as the rest of `should be ...`."""
    options = [option for option in alternatives(annotation) if option is not type(None)]
    if len(options) < len(alternatives(annotation)):
        return f"{' or '.join(map(words, options))}, or null"
    if len(options) > 1:
        return " or ".join(map(words, options))
    plain, constraints = unwrapped(annotation)
    if constraints and len(alternatives(plain)) > 1:
        return words(plain)
    return ", ".join([_noun(plain, constraints), *rules(constraints)])


def _noun(plain: Any, constraints: Sequence[Any]) -> str:
    if typing.get_origin(plain) is typing.Literal:
        *first, last = map(repr, typing.get_args(plain))
        return f"{', '.join(first)} or {last}" if first else last
    if (item := items(plain)) is not None:
        least, most = lengths(constraints)
        size = f" of {least}" if least == most else f" of at least {least}" if least else ""
        return f"a list{size}, each {words(item)}"
    nouns = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
    if plain in nouns:
        return nouns[plain] + _range(limits(constraints))
    if inspect.isclass(plain) and issubclass(plain, BaseModel):
        return f"a mapping with the keys {', '.join(plain.model_fields)}"
    return "a mapping" if typing.get_origin(plain) is dict or plain is dict else "a value"


def _range(bounds: Sequence[tuple[str, float]]) -> str:
    if [sign for sign, _ in bounds] == ["≥", "≤"]:
        return f" from {number(bounds[0][1])} to {number(bounds[1][1])}"
    signs = {"≥": "of at least", "＞": "above", "≤": "at most", "＜": "below"}
    return " " + " and ".join(f"{signs[sign]} {number(bound)}" for sign, bound in bounds) if bounds else ""
