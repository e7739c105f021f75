"""Config files: where they are found, those that come with ppeconv among them, and how they inherit with `_base_`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ppeconv import files
from ppeconv.domains import expanded
from ppeconv.errors import UserError, nearest
from ppeconv.schema.values import copied, from_yaml, same_name

_DEEPEST = 50
_ALL = "ppeconv list configs names those that come with it"


def shipped(kind: str = "") -> list[str]:
    """Names of the configs that come with ppeconv; of a kind that has a folder of its own, such as "detection"."""
    return sorted(path.stem for path in (_shipped_folder() / kind).glob("*.yaml"))


def find(name: str, kind: str = "") -> Path:
    """The file of a config: a path, or a path or bare name among the shipped ones of a kind."""
    if found := _found(name, Path(), kind):
        return found
    if os.path.isdir(expanded(name)):
        raise UserError(f"{name} is a folder; give a config file in it")
    raise UserError(f"there is no config {name}{nearest(Path(name).stem, shipped(kind), '' if kind else _ALL)}")


def read(path: Path) -> dict[str, Any]:
    """A file's values on top of those of its `_base_` files."""
    return copied(_read(path, (), {}))


def inherit(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values on top of those of their `_base_` files, which are paths from here or shipped configs."""
    return copied(_on_bases(dict(copied(values)), Path("the mapping"), (), {}))


def _read(path: Path, above: tuple[Path, ...], known: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """`above` are the files that named it, `known` what was read before."""
    place = path.resolve()
    if place in known:
        return known[place]
    if place in above:
        raise UserError(f"{path} has itself as _base_")
    if len(above) > _DEEPEST:
        raise UserError(f"{path} is the _base_ of a _base_ more than {_DEEPEST} times over; put fewer files in a row")
    try:
        values = from_yaml(files.read(path, files.YAML).decode(), str(path))
    except OSError as error:
        raise UserError(f"cannot read the config {path}{_named_by(above)}: {error}") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"cannot read the config {path}{_named_by(above)}: byte {error.start + 1} is no UTF-8; save it as UTF-8"
        ) from None
    if not isinstance(values, dict):
        raise UserError(f"{path} should hold sections such as Global and Arch; got {type(values).__name__}")
    known[place] = _on_bases(values, path, (*above, place), known)
    return known[place]


def _named_by(above: tuple[Path, ...]) -> str:
    return f" (a _base_ of {above[-1]})" if above else ""


def _on_bases(
    values: dict[str, Any], path: Path, above: tuple[Path, ...], known: dict[Path, dict[str, Any]]
) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for base in _bases(values.pop("_base_", []), path):
        merged = merge(merged, _read(base, above, known))
    return merge(merged, values)


def _bases(names: Any, path: Path) -> Iterator[Path]:
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) and "\0" not in name for name in names):
        raise UserError(f"_base_ of {path} should be a file or a list of files; got {names!r}")
    for name in names:
        found = _found(name, path.parent)
        if found is None:
            raise UserError(
                f"cannot read the config {path.parent / name} (a _base_ of {path}): it is not there, and no shipped "
                f"config has that path or name{nearest(Path(name).stem, shipped(), _ALL)}"
            )
        yield found


def _found(name: str, beside: Path, kind: str = "") -> Path | None:
    shelf = _shipped_folder() / kind
    places = beside / expanded(name), shelf / name, shelf / f"{name}.yaml"
    return next((place for place in places if _is_file(place)), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than the file system takes, a folder that is closed
        return False


def _shipped_folder() -> Path:
    package = Path(__file__).parent.parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` on top of `below`; a mapping that names another thing replaces, as its arguments are other ones."""
    if "name" in above and "name" in below and not same_name(above["name"], below["name"]):
        return dict(above)
    both = dict(below)
    for key, value in above.items():
        nested = isinstance(value, Mapping) and isinstance(both.get(key), Mapping)
        both[key] = merge(both[key], value) if nested else value
    return both
