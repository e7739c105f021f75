"""`inference.yml`, which says what an exported folder holds, and the checksums of the files beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ppeconv.deployment.facts import Facts, read_facts
from ppeconv.deployment.runtime import PREFIX
from ppeconv.errors import UserError

FORMAT = 1
FILE = f"{PREFIX}.yml"
_MAKER = "tools/export.py"


class Manifest(Facts):
    """What prediction needs to know."""

    input_shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)]
    """[C, H, W]."""
    class_names: Annotated[list[str], Field(min_length=1)]
    transform_ops: list[dict[str, dict[str, Any] | None]]


class _Outputs(Facts):
    outputs: list[str] | None = None


class _Sums(Facts):
    sha256: Annotated[dict[str, str], Field(min_length=1)] | None = None


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an exported classifier; raises UserError where it is missing or wrong, or of another network."""
    outputs = read_facts(folder / FILE, _Outputs, FORMAT, "an exported model", _MAKER).outputs or []
    if len(outputs) > 1:
        raise UserError(
            f"the network in {folder} gives {len(outputs)} outputs ({', '.join(outputs)}), and classes are predicted "
            "from one; run it with ppeconv.deployment.runtimes.open_runtime"
        )
    return read_facts(folder / FILE, Manifest, FORMAT, "an exported model", _MAKER)


def checksums(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files in a folder."""
    return {file.name: _digest(file) for file in sorted(folder.iterdir()) if file.is_file()}


def check_files(folder: Path, names: list[str]) -> None:
    """Raise a UserError where a file is not the one that was exported; folders of older exports have no checksums."""
    if not (folder / FILE).is_file():
        return
    sums = read_facts(folder / FILE, _Sums, FORMAT, "an exported model", _MAKER).sha256 or {}
    for name in names if sums else []:
        file = folder / name
        if file.is_file() and _digest(file) != sums.get(name):
            raise UserError(
                f"{file} is damaged or was replaced: its checksum is not the one in {FILE}; make it again with {_MAKER}"
            )


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
