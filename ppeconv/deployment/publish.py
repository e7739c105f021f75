"""Putting an export in the place of an older one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ppeconv.deployment.manifest import FILE
from ppeconv.deployment.runtimes import by_preference
from ppeconv.engine.lock import Lock
from ppeconv.errors import UserError

TABLE = "widths.yml"
"""Beside the folders of several widths."""
_WIDTH = re.compile(r"width_[\d.e-]+")


@contextlib.contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """A folder to write an export into; when the block ends well, it takes the place of what was exported to `folder`.

    Other files there stay. A folder with nothing else in it is exchanged in one step where the system can do that: a
    crash leaves the old export or the new one. Otherwise files are replaced one by one, the descriptions deleted first
    and written last: a crash leaves what is refused as no export, never a mixture.

    Raises:
        UserError: another export to this folder is under way, or it cannot be written.
    """
    target = folder.resolve()
    staged = target.with_name(f".{target.name}.exporting")
    lock = Lock(
        staged.with_suffix(".lock"),
        f"an export to {folder} is under way",
        "wait for its end, or export to another folder",
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_dir():
            raise UserError(f"cannot write {folder}: it is not a folder")
        with lock:
            lock.take()
            if staged.exists():
                shutil.rmtree(staged)  # a killed process left it
            staged.mkdir()
            try:
                yield staged
                _replace(staged, target)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from None


def exported_files(folder: Path) -> list[Path]:
    """What exports wrote there, by its exact names."""
    names = dict.fromkeys([FILE, TABLE, *(name for kind in by_preference().values() for name in kind.files)])
    places = [folder, *(place for place in folder.glob("width_*") if _WIDTH.fullmatch(place.name))]
    return [file for place in places for name in names if (file := place / name).is_file()]


def _replace(staged: Path, target: Path) -> None:
    if not target.exists():
        staged.rename(target)
    elif not (_holds_nothing_else(target) and _exchange(staged, target)):
        _replace_files(staged, target)


def _holds_nothing_else(folder: Path) -> bool:
    """Whether there is nothing but exported files, and no process of this session stands in it."""
    if folder in (Path.cwd(), *Path.cwd().parents):
        return False
    own = set(exported_files(folder))
    return all(entry in own or (entry.is_dir() and _WIDTH.fullmatch(entry.name)) for entry in folder.rglob("*"))


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders swap their names in one step; False where the system cannot."""
    shutil.copymode(other, one)
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        return ctypes.CDLL(None).renameat2(here, os.fsencode(one), here, os.fsencode(other), swap) == 0
    except (AttributeError, OSError, TypeError):
        return False


def _replace_files(staged: Path, target: Path) -> None:
    new = sorted((file for file in staged.rglob("*") if file.is_file()), key=_place, reverse=True)
    places = [target / file.relative_to(staged) for file in new]
    for file in sorted(exported_files(target), key=_place):
        if file not in places or file.suffix == ".yml":
            file.unlink()
        if file.parent != target:
            with contextlib.suppress(OSError):  # it is not empty
                file.parent.rmdir()
    for file, place in zip(new, places, strict=True):
        place.parent.mkdir(exist_ok=True)
        file.replace(place)


def _place(file: Path) -> int:
    """Where a file stands in the order of deletion: what says that there is an export goes first."""
    return [file.name == TABLE, file.suffix == ".yml", True].index(True)
