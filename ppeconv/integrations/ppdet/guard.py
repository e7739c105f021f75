"""Files that ppdet reads with loaders that may run code, looked at before it does."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ppeconv import files
from ppeconv.engine import checkpoint
from ppeconv.errors import UserError, first_line
from ppeconv.schema.values import on_one_line

_PYTHON = "tag:yaml.org,2002:python/"
_TEXT = "tag:yaml.org,2002:str"
_BYTES = "tag:yaml.org,2002:binary"
_BASE = "_BASE_"
_EVALUATED = "norm_layer", "act_fn", "block_fn", "stage_fn", "set_param_lr_func", "model_name"
"""Settings whose texts ppdet evaluates; they are meant to be names."""
_NAME = re.compile(r"\w+(\.\w+)*")
_REFUSED = {"video_file": "goes into a command of the shell", "cache_root": "is a folder of pickles that are run"}
"""Settings by which ppdet runs more than it says, and why they are refused; nothing of `detect` needs them."""


def require_plain_settings(file: Path) -> None:
    """Raise a UserError where a file, or one that it is based on, cannot be read or makes ppdet run what it says."""
    waiting, seen = [file], set()
    while waiting:
        path = waiting.pop()
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        for node in _nodes(_composed(path)):
            _require_plain(node, str(path))
            if isinstance(node, yaml.MappingNode):
                waiting += _bases(node, path)


def require_plain_setting(key: str, value: Any) -> Any:
    """A plain value of the command line, looked at as those in files are."""
    for node in _nodes(yaml.compose(on_one_line({key: value}), Loader=yaml.SafeLoader)):
        _require_plain(node, "-o")
    return value


def require_plain_weights(file: str | os.PathLike[str]) -> None:
    """Raise a UserError where weights or a part of a checkpoint hold more than arrays and plain values."""
    if Path(file).is_file():
        checkpoint.read(Path(file))


def _require_plain(node: yaml.Node, where: str) -> None:
    if node.tag.startswith(_PYTHON):
        raise UserError(f"{where} names Python to be called, {node.tag.removeprefix(_PYTHON)}; take it out")
    if node.tag == _BYTES:
        raise UserError(f"{where} holds bytes (!!binary), which no setting is; take them out")
    if node.tag.startswith("!") and not isinstance(node, yaml.MappingNode):
        raise UserError(f"{where} should give {node.tag} its arguments by name, {node.tag} {{name: value}}")
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name = str(key.value)
        if name in _EVALUATED and not (isinstance(value, yaml.ScalarNode) and _NAME.fullmatch(value.value)):
            raise UserError(f"{where}: PaddleDetection runs what {name} says; it should be a name, such as nn.ReLU")
        if name in _REFUSED and value.tag == _TEXT:
            raise UserError(f"{where}: {name} {_REFUSED[name]} by PaddleDetection; take it out")


def _composed(path: Path) -> yaml.Node | None:
    try:
        return yaml.compose(files.read(path, files.YAML), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path} is not a configuration of PaddleDetection: {first_line(error)}") from None


def _nodes(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """A node and everything in it, each once however often it is named."""
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


def _bases(node: yaml.MappingNode, path: Path) -> Iterator[Path]:
    """The files that a mapping names as its bases."""
    for value in (value for key, value in node.value if key.value == _BASE):
        listed = value.value if isinstance(value, yaml.SequenceNode) else [value]
        if listed == [value] or not all(it.tag == _TEXT and "\0" not in it.value for it in listed):
            raise UserError(f"{path}: _BASE_ should be a list of files, such as [base.yml]")  # ppdet would read letters
        yield from (path.parent / os.path.expanduser(it.value) for it in listed)
