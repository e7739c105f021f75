"""Files that ppdet reads with loaders that may run code, looked at before it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from ppeconv import files
from ppeconv.engine import checkpoint
from ppeconv.errors import UserError, first_line

_PYTHON = "tag:yaml.org,2002:python/"
_BASE = "_BASE_"
_WEIGHTS = ".pdparams", ".pdema", ".pdopt"


def require_plain_settings(file: Path) -> None:
    """Raise a UserError where a file, or one that it is based on, cannot be read or names Python to be called."""
    waiting, seen = [file], set()
    while waiting:
        path = waiting.pop()
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        for node in _nodes(path):
            if node.tag.startswith(_PYTHON):
                raise UserError(f"{path} names Python to be called, {node.tag.removeprefix(_PYTHON)}; take it out")
            if isinstance(node, yaml.MappingNode):
                waiting += _bases(node, path.parent)


def require_plain_weights(path: str) -> None:
    """Raise a UserError where weights or a checkpoint, named without ending, hold more than arrays and plain values."""
    for suffix in _WEIGHTS:
        file = Path(path + suffix)
        if file.is_file():
            checkpoint.read(file)


def _nodes(path: Path) -> Iterator[yaml.Node]:
    """Everything in a file, each once however often it is named."""
    try:
        root = yaml.compose(files.read(path, files.TEXT), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path} is not a configuration of PaddleDetection: {first_line(error)}") from None
    waiting, seen = [root] if root else [], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [it for pair in node.value for it in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _bases(node: yaml.MappingNode, folder: Path) -> list[Path]:
    """The files that a mapping names as its bases."""
    named = [value for key, value in node.value if key.value == _BASE and isinstance(value, yaml.SequenceNode)]
    return [folder / Path(it.value).expanduser() for value in named for it in value.value]
