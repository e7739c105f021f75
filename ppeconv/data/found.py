"""Looking for image files in folders, and saying what was left out."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ppeconv.errors import UserError

ENDINGS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .gif .webp .tif .tiff .ppm .pgm .pbm .pnm .jp2 .j2k .avif".split()  # noqa: SIM905
)
_OF_SYSTEMS = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"}
_NAMED = 4


@dataclass
class Found:
    """Image files, and other entries that were passed over."""

    paths: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    """Files and folders whose names begin with a dot, that systems or notebooks make."""
    others: list[Path] = field(default_factory=list)
    """Files whose names do not end like an image's."""
    special: list[Path] = field(default_factory=list)
    """Pipes, devices, links to nothing."""
    strays: list[Path] = field(default_factory=list)
    """Images outside the class folders."""

    def left_out(self) -> str:
        """What was passed over and why, in a sentence; "" for nothing."""
        kinds = [
            _some("hidden or made by a system or a notebook", (path.name for path in self.hidden), len(self.hidden)),
            _some(
                "not images by their endings",
                (_ending(path.name) or "without one" for path in self.others),
                len(self.others),
            ),
            _some("not files", (path.name for path in self.special), len(self.special)),
            _some("outside the class folders", (path.name for path in self.strays), len(self.strays)),
        ]
        return "; ".join(kind for kind in kinds if kind)

    def sort_in(self, entry: Path | os.DirEntry[str]) -> None:
        """Add a file, or a folder that is passed over."""
        if is_hidden(entry.name):
            kind = self.hidden
        elif not is_image(entry.name):
            kind = self.others
        else:
            kind = self.paths if holds(entry.is_file) else self.special
        kind.append(Path(entry))

    def add(self, other: Found) -> None:
        """Take over what the other holds."""
        for name, paths in vars(other).items():
            getattr(self, name).extend(paths)


def is_image(name: str) -> bool:
    """Whether a file's name ends like an image's."""
    return _ending(name) in ENDINGS


def is_hidden(name: str) -> bool:
    """Whether the name is one that people do not give: `.ipynb_checkpoints`, `__MACOSX`, `1-checkpoint.png`."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS or os.path.splitext(name)[0].endswith("-checkpoint")


def find_images(folder: Path) -> Found:
    """The image files in a folder and in those below it, links followed, in the order of their paths."""
    found, seen = Found(), set[tuple[int, int]]()
    waiting = _entries(folder, seen)
    while waiting:
        entry = waiting.pop()
        if holds(entry.is_dir) and not is_hidden(entry.name):
            waiting += _entries(entry, seen)
        else:
            found.sort_in(entry)
    return found


def _entries(folder: Path | os.DirEntry[str], seen: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    """What is in a folder, the last by its name first; nothing where it was seen: a link has led back to it."""
    try:
        identity = os.stat(folder)
        if (identity.st_dev, identity.st_ino) in seen:
            return []
        seen.add((identity.st_dev, identity.st_ino))
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name, reverse=True)
    except OSError as error:
        raise UserError(f"cannot look into the folder {error.filename}: {error.strerror}") from None


def holds(test: Callable[[], bool]) -> bool:
    """What a question about a file is answered with; no where it cannot be, as for a link to itself."""
    try:
        return test()
    except OSError:
        return False


def images_of(patterns: Sequence[str]) -> Found:
    """The image files that paths, folders (searched whole) and shell patterns mean, and what was passed over there."""
    found = Found()
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            matches = find_images(path)
        elif path.is_file():
            matches = Found([path])
        else:
            matches = Found()
            for match in map(Path, sorted(glob.glob(pattern, recursive=True))):
                if not match.is_dir():
                    matches.sort_in(match)
        if not matches.paths:
            left_out = f" (left out: {matches.left_out()})" if matches.left_out() else ""
            there = f"in the folder {pattern}" if path.is_dir() else pattern
            raise UserError(
                f"there is no image {there}{left_out}; give image files, a folder of them, or a pattern such as "
                "'photos/*.jpg'"
            )
        found.add(matches)
    return found


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _some(what: str, names: Iterable[str], count: int) -> str:
    distinct = list(dict.fromkeys(names))
    return (
        f"{count} {what} ({', '.join(distinct[:_NAMED])}{', ...' if len(distinct) > _NAMED else ''})" if count else ""
    )
