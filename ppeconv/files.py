"""Files that are whole at any moment, and reading of files that others may have made."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from ppeconv.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

YAML = 4 * 2**20
"""Bytes that a config or the description of an export may have; YAML is read slowly."""
TEXT = 16 * 2**20
"""Bytes that a manifest or a record may have."""
TABLE = 2**30
"""Bytes of a list or a table of results."""
ARRAYS = 8 * 2**30
"""Bytes of weights, a checkpoint or a program."""


def read(path: Path, most: int) -> bytes:
    """The content of a file.

    Raises:
        OSError: see `opened`.
        UserError: it has more than `most` bytes.
    """
    with opened(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > most:
            raise UserError(f"{path} has {size:,} bytes, and files of its kind have at most {most:,}")
        return file.read()


def digest(path: Path) -> str:
    """The SHA-256 of a file of weights, or of what is as large as they are; raises as `read` does."""
    return hashlib.sha256(read(path, ARRAYS)).hexdigest()


@dataclass(frozen=True)
class Sealed:
    """A file of weights whose SHA-256 is known."""

    path: Path
    sha256: str
    advice: ClassVar[str] = "make it again"
    """What to do where it is another."""

    def read(self) -> bytes:
        """The content; raises UserError where it cannot be read or is not the one that is known."""
        try:
            content = read(self.path, ARRAYS)
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror}; {self.advice}") from None
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise UserError(f"{self.path} is damaged: its SHA-256 is {found}, not {self.sha256}; {self.advice}")
        return content


def opened(path: Path) -> BinaryIO:
    """A file that is open for reading.

    Raises:
        OSError: it is not there, cannot be read, or is no regular file, of which reading may never end.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is a folder, a pipe or a device", str(path))


def write(path: Path, payload: bytes) -> None:
    """Write a file and wait until it is on the disk; a link, which may lead anywhere, is not followed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags, 0o666), "wb") as file:
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


def write_table(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as CSV, the first of them the names of the columns."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_whole(path, text.getvalue().encode())


def write_picture(path: Path, figure: Figure, dpi: int) -> None:
    """Write a figure as PNG."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=dpi)
    write_whole(path, picture.getvalue())


def save_figure(figure: Figure, file: str | Path, **how: Any) -> None:
    """Save a figure as its suffix says, such as .svg or .png: the same figure gives the same file."""
    import matplotlib as mpl

    fixed: dict[str, Any] = {"metadata": {"Date": None}} if Path(file).suffix == ".svg" else {}
    with mpl.rc_context({"svg.hashsalt": "ppeconv"}):
        figure.savefig(file, **fixed, **how)


def staged(path: Path) -> Path:
    """The other name."""
    return path.with_name(f"{path.name}.writing")
