"""Checking values against declared types, with errors that read as sentences."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from ppeconv.errors import UserError, nearest
from ppeconv.schema import wording

Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """A part of a config: unknown keys are errors, values keep their types, nothing changes after the check."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def signature_schema(function: Callable) -> type[BaseModel]:
    """The keyword-only parameters of a function, or of a class's `__init__`, as a schema."""
    target = function.__init__ if inspect.isclass(function) else function
    hints = typing.get_type_hints(target, include_extras=True)
    fields: dict[str, Any] = {}
    open_ended = False
    for parameter in inspect.signature(target).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (hints.get(parameter.name, Any), default)
        open_ended |= parameter.kind is parameter.VAR_KEYWORD
    config: Any = Section.model_config | {
        "extra": "allow" if open_ended else "forbid",
        "frozen": False,
        "arbitrary_types_allowed": True,
    }
    return create_model(function.__name__, __config__=config, **fields)


def check(schema: type[Model], values: Any, where: str = "") -> Model:
    """`values` as an instance of `schema`; what is wrong with them is raised as a UserError."""
    try:
        return schema.model_validate(dict(values) if isinstance(values, Mapping) else values)
    except ValidationError as error:
        raise UserError(_sentence(schema, error.errors(), where)) from None


def keys_at(schema: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The keys that the section at a path declares; none where no section is there."""
    steps = _walk(schema, path)
    here = steps[-1][1] if steps else schema
    return [key for section in _sections(here) for key in section.model_fields] if len(steps) == len(path) else []


def _sentence(schema: type[BaseModel], problems: Sequence[Mapping[str, Any]], where: str) -> str:
    """Of several problems the one that lies deepest is named: the others are of alternatives that were not meant."""
    problem = max(problems, key=lambda problem: len(_walk(schema, problem["loc"])))
    steps = _walk(schema, problem["loc"])
    name = ".".join([*([where] if where else []), *(part for part, _ in steps)])
    here = steps[-1][1] if steps else schema
    if problem["type"] == "extra_forbidden":
        key, known = str(problem["loc"][-1]), [key for section in _sections(here) for key in section.model_fields]
        return f"{name or 'a config'} has no key {key!r}{nearest(key, known)}"
    if problem["type"] == "invalid_key":
        return f"{name or 'a config'} has the key {problem['input']!r}, and keys are text"
    if problem["type"] == "missing":
        return f"{name} is required and was not given"
    return f"{name} should be {wording.words(here)}; got {_shortened(repr(problem['input']))}"


def _walk(schema: type[BaseModel], path: Sequence[Any]) -> list[tuple[str, Any]]:
    """(part, declared type) along a path; parts that name no key or position, such as pydantic's tags, are left out."""
    here, steps = schema, []
    for part in path:
        inner = _inside(here, part)
        if inner is not None:
            here = inner
            steps.append((str(part), inner))
    return steps


def _inside(annotation: Any, part: Any) -> Any:
    for option in wording.alternatives(annotation):
        plain, _ = wording.unwrapped(option)
        if str(part).isdigit() and wording.items(plain) is not None:
            return wording.items(plain)
        if _is_section(plain) and part in plain.model_fields:
            return wording.declared(plain.model_fields[part])
    return None


def _sections(annotation: Any) -> list[type[BaseModel]]:
    options = [wording.unwrapped(option)[0] for option in wording.alternatives(annotation)]
    return [option for option in options if _is_section(option)]


def _is_section(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."
