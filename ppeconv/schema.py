"""Checking values against declared types, with errors that read as sentences."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from ppeconv.errors import UserError, nearest


class Section(BaseModel):
    """A part of a config: unknown keys are errors, values keep their types, nothing changes after the check."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def signature_schema(function: Callable) -> type[Section]:
    """The keyword-only parameters of a function, or of a class's `__init__`, as a schema."""
    target = function.__init__ if inspect.isclass(function) else function
    hints = typing.get_type_hints(target)
    fields, open_ended = {}, False
    for parameter in inspect.signature(target).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (hints.get(parameter.name, Any), default)
        open_ended |= parameter.kind is parameter.VAR_KEYWORD
    config = {"extra": "allow" if open_ended else "forbid", "strict": True, "arbitrary_types_allowed": True}
    return create_model(function.__name__, __config__=ConfigDict(**config), **fields)


def check(schema: type[BaseModel], values: Mapping[str, Any], where: str = "") -> BaseModel:
    """`values` as an instance of `schema`; the first thing wrong with them is raised as a UserError."""
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(_sentence(schema, error.errors()[0], where)) from None


def _sentence(schema: type[BaseModel], problem: dict[str, Any], where: str) -> str:
    path = [str(part) for part in problem["loc"] if not str(part).startswith(("function-", "list[", "dict["))]
    name = ".".join([where, *path] if where else path)
    if problem["type"] == "extra_forbidden":
        parent = ".".join([where, *path[:-1]] if where else path[:-1]) or "a config"
        return f"{parent} has no key {path[-1]!r}{nearest(path[-1], _fields_at(schema, path[:-1]))}"
    if problem["type"] == "missing":
        return f"{name} is required and was not given"
    reason = problem["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{name} should be {reason}; got {problem['input']!r}"


def _fields_at(schema: Any, path: list[str]) -> list[str]:
    """The field names of the section that `path` leads to, looking through Optional and list annotations."""
    for part in path:
        if isinstance(schema, type) and issubclass(schema, BaseModel) and part in schema.model_fields:
            schema = _section_in(schema.model_fields[part].annotation)
    return list(schema.model_fields) if isinstance(schema, type) and issubclass(schema, BaseModel) else []


def _section_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in typing.get_args(annotation) if (found := _section_in(inner))), None)
