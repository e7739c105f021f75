"""Config files as plain values: YAML that inherits with `_base_`, and `Section.key=value` on top."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ppeconv.errors import UserError


class _Loader(yaml.SafeLoader):
    """YAML without code, in which 3e-4 is a number (YAML 1.1 wants 3.0e-4)."""


class _Dumper(yaml.SafeDumper):
    """Quotes the strings that `_Loader` would take for numbers."""


for _flavour in (_Loader, _Dumper):
    _flavour.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )


def read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A file's values on top of those of its `_base_` files; `above` are the files that named it."""
    if path.resolve() in above:
        raise UserError(f"{path} has itself as _base_")
    try:
        values = from_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        named_by = f" (a _base_ of {above[-1]})" if above else ""
        raise UserError(f"cannot read the config {path}{named_by}: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} should hold sections such as Global and Arch; got {type(values).__name__}")
    bases = values.pop("_base_", [])
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        merged = merge(merged, read(path.parent / base, (*above, path.resolve())))
    return merge(merged, values)


def from_yaml(text: str, where: str) -> Any:
    """What a YAML text holds; `where` names it in the error."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"{where} is not valid YAML{place}: {getattr(error, 'problem', error)}") from None


def to_yaml(values: Mapping[str, Any]) -> str:
    """Plain values as YAML, innermost lists and mappings on one line."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def override(values: dict[str, Any], setting: str) -> None:
    """Set what `Section.key=value` says."""
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise UserError(f"-o takes Section.key=value, such as Global.epochs=1; got {setting!r}")
    assign(values, key.strip().split("."), from_yaml(text, f"the value of -o {key}"))


def assign(values: Any, path: Sequence[str], value: Any) -> None:
    """Set a value in nested mappings and lists; mappings on the way to it are made."""
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(values, list):
            if not part.isdigit() or int(part) >= len(values):
                raise UserError(
                    f"{'.'.join(path[:depth])} is a list of {len(values)}; {part!r} is not one of its "
                    f"positions 0 to {len(values) - 1}"
                )
            part = int(part)
        elif not isinstance(values, dict):
            raise UserError(f"{'.'.join(path[:depth])} is the value {values!r} and has no key {part!r}")
        if last:
            values[part] = value
        elif isinstance(values, dict) and values.get(part) is None:
            values[part] = {}
        values = values if last else values[part]


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` on top of `below`; a mapping that names another thing replaces, as its arguments are other ones."""
    if "name" in above and "name" in below and above["name"] != below["name"]:
        return dict(above)
    both = dict(below)
    for key, value in above.items():
        nested = isinstance(value, Mapping) and isinstance(both.get(key), Mapping)
        both[key] = merge(both[key], value) if nested else value
    return both
