"""Looking for image files in folders, and saying what was left out."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
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
            _some("not images by their endings", map(_ending, self.others), len(self.others)),
            _some("not files", (path.name for path in self.special), len(self.special)),
            _some("outside the class folders", (path.name for path in self.strays), len(self.strays)),
        ]
        return "; ".join(kind for kind in kinds if kind)

    def add(self, other: Found) -> None:
        """Take over what the other holds."""
        for name, paths in vars(other).items():
            getattr(self, name).extend(paths)


def is_image(path: Path) -> bool:
    """Whether the file's name ends like an image's."""
    return path.suffix.lower() in ENDINGS


def is_hidden(path: Path) -> bool:
    """Whether the name is one that people do not give: `.ipynb_checkpoints`, `__MACOSX`, `1-checkpoint.png`."""
    return path.name.startswith(".") or path.name.lower() in _OF_SYSTEMS or path.stem.endswith("-checkpoint")


def find_images(folder: Path) -> Found:
    """The image files in a folder and in those below it, links followed, in the order of their paths."""
    found, seen = Found(), set()

    def unreadable(error: OSError) -> None:
        raise UserError(f"cannot look into the folder {error.filename}: {error.strerror}")

    for where, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        identity = os.stat(where)
        if (identity.st_dev, identity.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        hidden = [name for name in folders if is_hidden(Path(name))]
        folders[:] = sorted(set(folders) - set(hidden))
        found.hidden += [Path(where, name) for name in hidden]
        found.add(sort_out(Path(where, name) for name in files))
    for paths in vars(found).values():
        paths.sort()
    return found


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
            entries = map(Path, sorted(glob.glob(pattern, recursive=True)))
            matches = sort_out(entry for entry in entries if not entry.is_dir())
        if not matches.paths:
            left_out = f" (left out: {matches.left_out()})" if matches.left_out() else ""
            there = f"in the folder {pattern}" if path.is_dir() else pattern
            raise UserError(
                f"there is no image {there}{left_out}; give image files, a folder of them, or a pattern such as "
                "'photos/*.jpg'"
            )
        found.add(matches)
    return found


def sort_out(files: Iterable[Path]) -> Found:
    """Which of these, none of them a folder, are images."""
    found = Found()
    for path in files:
        if is_hidden(path):
            found.hidden.append(path)
        elif not is_image(path):
            found.others.append(path)
        elif not path.is_file():
            found.special.append(path)
        else:
            found.paths.append(path)
    return found


def _ending(path: Path) -> str:
    return path.suffix.lower() or "without one"


def _some(what: str, names: Iterator[str], count: int) -> str:
    distinct = list(dict.fromkeys(names))
    return (
        f"{count} {what} ({', '.join(distinct[:_NAMED])}{', ...' if len(distinct) > _NAMED else ''})" if count else ""
    )
