"""Files that are whole at any moment, and reading of files that others may have made."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ppeconv.errors import UserError

TEXT = 16 * 2**20
"""Bytes that a config, a manifest or a record may have."""
TABLE = 2**30
"""Bytes of a list or a table of results."""
ARRAYS = 8 * 2**30
"""Bytes of weights, a checkpoint or a program."""


def read(path: Path, most: int) -> bytes:
    """The content of a file.

    Raises:
        OSError: it is not there, cannot be read, or is no regular file, of which reading may never end.
        UserError: it has more than `most` bytes.
    """
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is a folder, a pipe or a device", str(path))
        if facts.st_size > most:
            raise UserError(f"{path} has {facts.st_size:,} bytes, and files of its kind have at most {most:,}")
        return file.read()


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
