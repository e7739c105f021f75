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
from typing import Any

from ppeconv.errors import UserError
from ppeconv.pickles import PlainUnpickler

FORMAT = 1
_PARTS = (".pdparams", ".pdopt", ".pdstates", ".json")


def save(prefix: Path, parts: Mapping[str, Any], keep: Path | None = None) -> None:
    """Write a checkpoint: `{".pdparams": ..., ...}`; the one that stood there becomes `keep` when that is given."""
    _finish(prefix)
    staged = prefix.with_name(prefix.name + ".writing")
    _discard(staged)
    sums = {}
    for suffix, content in parts.items():
        payload = pickle.dumps(content, protocol=4)
        sums[suffix] = hashlib.sha256(payload).hexdigest()
        write_file(_file(staged, suffix), payload)
    manifest = {"format": FORMAT, "sha256": sums, "keep": keep.name if keep else None}
    write_file(_file(staged, ".json"), json.dumps(manifest, indent=1).encode())
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
    """The arrays and plain values of a `.pdparams`, `.pdopt` or `.pdstates` file."""
    try:
        return PlainUnpickler(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} is not a file of weights ({type(error).__name__}: {error})") from None


def _file(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)


def write_file(path: Path, payload: bytes) -> None:
    """Write a file and wait until it is on the disk."""
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
