"""Weights and training states as files: arrays and plain values, never code.

A checkpoint PREFIX is PREFIX.pdparams (weights), .pdopt (optimizer), .pdstates (progress, random numbers) and
PREFIX.json, which holds their SHA-256 sums. Writing is all or nothing: new files are written under another name, the
manifest last, and then renamed; a renaming that was cut short is finished by whoever comes next.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from paddle import nn

from ppeconv.errors import UserError

FORMAT = 1
_PARTS = (".pdparams", ".pdopt", ".pdstates", ".json")
_SAFE = {
    ("builtins", name)
    for name in ("tuple", "list", "dict", "set", "int", "float", "bool", "bytes", "str", "complex", "bytearray")
}
_SAFE |= {("collections", "OrderedDict"), ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
_SAFE |= {
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")
    for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
}


def save(prefix: Path, parts: Mapping[str, Any], keep: Path | None = None) -> None:
    """Write a checkpoint: `{".pdparams": ..., ...}`; the one that stood there becomes `keep` when that is given."""
    _finish(prefix)
    staged = prefix.with_name(prefix.name + ".writing")
    _discard(staged)
    sums = {}
    for suffix, content in parts.items():
        payload = pickle.dumps(content, protocol=4)
        sums[suffix] = hashlib.sha256(payload).hexdigest()
        _write(_file(staged, suffix), payload)
    manifest = {"format": FORMAT, "sha256": sums, "keep": keep.name if keep else None}
    _write(_file(staged, ".json"), json.dumps(manifest, indent=1).encode())
    _finish(prefix)


def _finish(prefix: Path) -> None:
    """Rename what `save` staged. Every step can be repeated, so this also completes one that was interrupted."""
    staged = prefix.with_name(prefix.name + ".writing")
    if not _file(staged, ".json").is_file():
        return
    keep = json.loads(_file(staged, ".json").read_bytes())["keep"]
    for suffix in _PARTS:
        new, current = _file(staged, suffix), _file(prefix, suffix)
        if new.is_file():
            if keep and current.is_file():
                os.replace(current, _file(prefix.with_name(keep), suffix))
            os.replace(new, current)


def problem(prefix: Path) -> str | None:
    """Why the checkpoint cannot be used, or None when every file is there and as it was written."""
    _finish(prefix)
    try:
        manifest = json.loads(_file(prefix, ".json").read_bytes())
        for suffix, expected in manifest["sha256"].items():
            if hashlib.sha256(_file(prefix, suffix).read_bytes()).hexdigest() != expected:
                return f"{_file(prefix, suffix)} is damaged: its checksum is not the one in {prefix.name}.json"
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError):
        return f"{_file(prefix, '.json')} is not a checkpoint's manifest"
    if manifest["format"] != FORMAT:
        return f"{prefix} has format {manifest['format']}, and this ppeconv reads format {FORMAT}"
    return None


def read(path: Path) -> Any:
    """The arrays and plain values of a `.pdparams`, `.pdopt`, `.pdstates` or `.safetensors` file."""
    try:
        if path.suffix == ".safetensors":
            return _safetensors(path).load(path.read_bytes())
        return _Unpickler(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} is not a file of weights ({type(error).__name__}: {error})") from None


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Name -> array of a weight file."""
    content = read(path)
    arrays = {}
    for name, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], np.ndarray):
            value = value[1]  # Paddle writes a tensor that is not in a state dict as (name, array)
        if isinstance(value, np.ndarray):
            arrays[name] = value
    if not arrays:
        raise UserError(f"{path} holds no weights; expected a dictionary of arrays")
    return arrays


def write_weights(model: nn.Layer, path: Path) -> None:
    """Write a network's weights as `.pdparams` or `.safetensors`."""
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    if path.suffix == ".safetensors":
        _write(path, _safetensors(path).save(arrays))
    elif path.suffix == ".pdparams":
        _write(path, pickle.dumps(arrays, protocol=4))
    else:
        raise UserError(f"weights are written as .pdparams or .safetensors; got {path}")


def weight_file(path: str | Path) -> Path:
    """The weight file that a user means: with or without suffix, or a run folder, whose best weights are taken."""
    path = Path(path)
    candidates = [
        path,
        path.with_name(path.name + ".pdparams"),
        path.with_name(path.name + ".safetensors"),
        path / "best_model.pdparams",
        path / "latest.pdparams",
    ]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise UserError(
            f"there are no weights {path}; looked for {', '.join(map(str, candidates[:3]))} and for a run "
            "folder of that name"
        )
    return found


class _Unpickler(pickle.Unpickler):
    """Reads arrays and plain containers, and refuses everything that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SAFE:
            raise UserError(
                f"this file wants to call {module}.{name}; weights are arrays only, so it is not opened. "
                "Do not use it, or convert it to .safetensors where you trust it"
            )
        return super().find_class(module, name)


def _safetensors(path: Path) -> ModuleType:
    try:
        from safetensors import numpy
    except ImportError:
        raise UserError(f"{path} needs safetensors: pip install safetensors") from None
    return numpy


def _file(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)


def _write(path: Path, payload: bytes) -> None:
    try:
        with open(path, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def _discard(prefix: Path) -> None:
    for suffix in reversed(_PARTS):
        _file(prefix, suffix).unlink(missing_ok=True)
