"""`-o Section.key=value` on plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ppeconv.errors import UserError
from ppeconv.schema.values import copied, from_yaml, same_name


def override(
    values: dict[str, Any],
    settings: Sequence[str] | Mapping[str, Any],
    keys_at: Callable[[Sequence[str]], Sequence[str]],
) -> None:
    """Set what each `Section.key=value`, or each dotted key of a mapping, says, in their order.

    A `name` that another thing takes drops the arguments of the thing before, but not those that settings gave.

    Args:
        values: is changed.
        settings: the texts, or the mapping.
        keys_at: the section's own keys at a path, which are no arguments of what is named there.
    """
    given: list[list[str]] = []
    for key, value in _pairs(settings):
        path = key.strip().split(".")
        if path[-1] == "name":
            section = path[:-1]
            kept = {other[len(section)] for other in given if other[: len(section)] == section and other != section}
            _rename(_at(values, section), value, {"name", *keys_at(section), *kept})
        assign(values, path, value)
        given.append(path)


def _pairs(settings: Sequence[str] | Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if not isinstance(key, str) or not key.strip():
                raise UserError(f"overrides have dotted keys, such as {{'Global.epochs': 1}}; got the key {key!r}")
            yield key, copied(value)
        return
    if isinstance(settings, str):
        raise UserError(f"overrides are a mapping, such as {{'Global.epochs': 1}}, or a list; got {settings!r}")
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UserError(f"-o takes Section.key=value, such as Global.epochs=1; got {setting!r}")
        yield key, from_yaml(text, f"the value of -o {key}")


def assign(values: Any, path: Sequence[str], value: Any) -> None:
    """Set a value in nested mappings and lists; mappings on the way to it are made."""
    for depth, name in enumerate(path):
        last = depth == len(path) - 1
        part: Any = name
        if isinstance(values, list):
            if not name.isdigit() or int(name) >= len(values):
                raise UserError(
                    f"{'.'.join(path[:depth])} is a list of {len(values)}; {name!r} is not one of its "
                    f"positions 0 to {len(values) - 1}"
                )
            part = int(name)
        elif not isinstance(values, dict):
            raise UserError(f"{'.'.join(path[:depth])} is the value {values!r} and has no key {part!r}")
        if last:
            values[part] = value
        elif isinstance(values, dict) and values.get(part) is None:
            values[part] = {}
        values = values if last else values[part]


def _rename(mapping: Any, name: Any, kept: set[str]) -> None:
    if isinstance(mapping, dict) and "name" in mapping and not same_name(mapping["name"], name):
        for key in [key for key in mapping if key not in kept]:
            del mapping[key]


def _at(values: Any, path: Sequence[str]) -> Any:
    for part in path:
        if isinstance(values, list):
            values = values[int(part)] if part.isdigit() and int(part) < len(values) else None
        else:
            values = values.get(part) if isinstance(values, dict) else None
    return values
