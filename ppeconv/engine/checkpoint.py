"""Weights and training states as files: arrays and plain values, never code.

A checkpoint PREFIX is PREFIX.pdparams (weights), .pdopt (optimizer), .pdstates (progress, random numbers) and
PREFIX.json, its manifest, which holds their SHA-256 sums. Writing is all or nothing: new files are written under
another name, the manifest last, and then renamed; what was cut short is finished by the next one who saves or resumes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppeconv import files
from ppeconv.data.pickles import load_plain
from ppeconv.errors import UserError

FORMAT = 1
_PARTS = (".pdparams", ".pdopt", ".pdstates", ".json")
_NAME = re.compile(r"\w+")
NAME = re.compile(r"latest|previous|best_model|epoch_\d+")
"""Names of checkpoints."""
_LOOKS = 3
"""How often a file is read that does not fit: a training may be replacing it and its manifest at the moment."""


def save(prefix: Path, parts: Mapping[str, Any], keep: Path | None = None) -> None:
    """Write a checkpoint: `{".pdparams": ..., ...}`; the one that stood there becomes `keep` when that is given."""
    finish(prefix)
    staged, sums = _staged(prefix), {}
    for suffix, content in parts.items():
        payload = pickle.dumps(content, protocol=4)
        sums[suffix] = hashlib.sha256(payload).hexdigest()
        files.write(_file(staged, suffix), payload)
    manifest = {"format": FORMAT, "sha256": sums, "keep": keep.name if keep else None}
    files.write_whole(_file(staged, ".json"), json.dumps(manifest, indent=1).encode())
    finish(prefix)


def finish(prefix: Path) -> None:
    """Rename what `save` has staged completely, and delete what it has not.

    Every step can be repeated, so this also completes a renaming that was cut short. Only the one process that saves
    there may call it.
    """
    staged = _staged(prefix)
    manifest = _manifest(staged)
    keep = manifest["keep"] if manifest else None
    try:
        for suffix in _PARTS if manifest else ():
            new, current = _file(staged, suffix), _file(prefix, suffix)
            if new.is_file():
                if keep and current.is_file():
                    os.replace(current, _file(prefix.with_name(keep), suffix))
                os.replace(new, current)
        for file in _staged_files(prefix):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write the checkpoint {prefix}: {error.strerror}") from None


def own_files(prefix: Path) -> list[Path]:
    """Every file that a checkpoint may consist of, staged ones too."""
    return [*(_file(prefix, suffix) for suffix in _PARTS), *_staged_files(prefix)]


def _staged_files(prefix: Path) -> list[Path]:
    parts = [_file(_staged(prefix), suffix) for suffix in _PARTS]
    return [*parts, files.staged(parts[-1])]


def problem(prefix: Path) -> str | None:
    """Why the checkpoint cannot be used, or None when every file is there and as it was written."""
    manifest = _manifest(prefix)
    complaint = _mismatch(prefix, manifest)
    coming = _manifest(_staged(prefix)) if complaint else None
    if coming and not _mismatch(prefix, coming):
        manifest, complaint = coming, None  # all files have been renamed but the manifest itself
    if not complaint and manifest and manifest["format"] != FORMAT:
        return f"{prefix} has format {manifest['format']}, and this ppeconv reads format {FORMAT}"
    return complaint


def _mismatch(prefix: Path, manifest: dict[str, Any] | None) -> str | None:
    """Which of the files is not as the manifest says."""
    if manifest is None:
        file = _file(prefix, ".json")
        return f"{file} is not a checkpoint's manifest" if file.is_file() else f"{file} is missing"
    for suffix, expected in manifest["sha256"].items():
        file = _file(prefix, suffix)
        try:
            if files.digest(file) != expected:
                return f"{file} is damaged: its checksum is not the one in {prefix.name}.json"
        except OSError as error:
            return f"{file} cannot be read ({error.strerror})"
    return None


def _manifest(prefix: Path) -> dict[str, Any] | None:
    """What the manifest says; None where there is none, or one that `save` cannot have written."""
    try:
        manifest = json.loads(files.read(_file(prefix, ".json"), files.TEXT))
    except (OSError, UserError, ValueError, RecursionError):
        return None
    fits = isinstance(manifest, dict) and {"format", "sha256", "keep"} <= manifest.keys()
    sums = manifest["sha256"] if fits else None
    if not isinstance(sums, dict) or ".pdparams" not in sums or not sums.keys() <= set(_PARTS):
        return None
    keep = manifest["keep"]
    return manifest if keep is None or (isinstance(keep, str) and _NAME.fullmatch(keep)) else None


def _staged(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}.writing")


def read(path: Path) -> Any:
    """The arrays and plain values of a `.pdparams`, `.pdopt` or `.pdstates` file, see `payload`."""
    content = payload(path)
    try:
        return load_plain(io.BytesIO(content))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:
        raise UserError(f"{path} is not a file of weights ({type(error).__name__}: {error})") from None


def payload(path: Path) -> bytes:
    """What is in a file, compared with its checksum where it is part of a checkpoint or has a manifest beside it.

    Raises:
        UserError: it cannot be read, is not what was written there, or the manifest is damaged.
    """
    complaint: str | None = None
    for _ in range(_LOOKS):
        try:
            content = files.read(path, files.ARRAYS)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from None
        complaint = _complaint(path, hashlib.sha256(content).hexdigest())
        if complaint is None:
            return content
    raise UserError(
        f"{complaint}; take other weights, or copy the file elsewhere and name it there if it is meant as it is"
    )


def _complaint(path: Path, digest: str) -> str | None:
    """Why a file with that checksum is not the one of its checkpoint."""
    prefix = path.with_suffix("")
    manifests = [manifest for place in (prefix, _staged(prefix)) if (manifest := _manifest(place))]
    if any(manifest["sha256"].get(path.suffix) == digest for manifest in manifests):
        return None
    file = _file(prefix, ".json")
    if manifests:
        return f"{path} is damaged or was replaced: its checksum is not the one in {file.name}"
    if file.is_file() and (NAME.fullmatch(prefix.name) or _has_sums(file)):
        return f"{file} is damaged: it does not hold the checksum of {path.name}"
    return None


def _has_sums(file: Path) -> bool:
    """Whether a JSON file means to be a manifest; Paddle writes programs as NAME.json too."""
    return b'"sha256"' in files.read(file, files.ARRAYS)


def _file(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)
