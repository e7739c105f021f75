"""`-o Section.key=value` on plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ppeconv.config.sections import Config
from ppeconv.errors import UserError
from ppeconv.schema import keys_at
from ppeconv.schema.values import copied, from_yaml, same_name


def override(values: dict[str, Any], settings: Sequence[str] | Mapping[str, Any]) -> None:
    """Set what each `Section.key=value`, or each dotted key of a mapping, says, in their order.

    A `name` that another thing takes drops the arguments of the thing before, but not a section's own keys, nor what
    settings gave.

    Args:
        values: is changed; mappings on the way to a key are made.
        settings: the texts, or the mapping.
    """
    given: list[list[str]] = []
    for key, value in _pairs(settings):
        path = key.strip().split(".")
        section, (place, last) = path[:-1], _place(values, path)
        if last == "name" and not same_name(place.get("name", value), value):
            kept = {other[len(section)] for other in given if other[: len(section)] == section and other != section}
            for argument in place.keys() - {"name", *keys_at(Config, section), *kept}:
                del place[argument]
        place[last] = value
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


def _place(values: Any, path: Sequence[str]) -> tuple[Any, Any]:
    """The mapping or list that holds a path's last part, and its key or position there."""
    part: Any = path[-1]
    for depth, name in enumerate(path):
        part = name
        if isinstance(values, list):
            if not name.isdigit() or int(name) >= len(values):
                raise UserError(
                    f"{'.'.join(path[:depth])} is a list of {len(values)}; {name!r} is not one of its "
                    f"positions 0 to {len(values) - 1}"
                )
            part = int(name)
        elif not isinstance(values, dict):
            raise UserError(f"{'.'.join(path[:depth])} is the value {values!r} and has no key {part!r}")
        if depth == len(path) - 1:
            break
        if isinstance(values, dict) and values.get(part) is None:
            values[part] = {}
        values = values[part]
    return values, part
