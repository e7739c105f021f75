"""Files that are whole at any moment."""

from __future__ import annotations

import os
from pathlib import Path

from ppeconv.errors import UserError


def write(path: Path, payload: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    try:
        with open(path, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def write_whole(path: Path, payload: bytes) -> None:
    """Write a file under another name and rename it: a crash leaves the old one or the new one."""
    write(staged(path), payload)
    try:
        os.replace(staged(path), path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def staged(path: Path) -> Path:
    """The other name."""
    return path.with_name(f"{path.name}.writing")
