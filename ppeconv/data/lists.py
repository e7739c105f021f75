"""List files: a line `path label` for each image."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path
from typing import NamedTuple

from ppeconv import files
from ppeconv.data.found import ENDINGS
from ppeconv.errors import UserError

MOST_CLASSES = 10**6
_LINE = re.compile(r"""(["']?)(?P<path>.+?)\1[\s,;]+(?P<label>[+-]?\d{1,18})""")
_SEVERAL_LABELS = re.compile(rf"""({"|".join(map(re.escape, sorted(ENDINGS)))})["']?[\s,;]+\d+[\s,;]""", re.IGNORECASE)


class Entry(NamedTuple):
    """A line."""

    path: str
    label: int


def read_list(listing: Path, folder: Path) -> list[Entry]:
    """The lines of a list file: UTF-8, GBK or UTF-16, path and label between spaces, tabs, commas or semicolons.

    Args:
        listing: the file.
        folder: what the paths are relative to; a path with backslashes that is no file there is taken as one of
            Windows.

    Raises:
        UserError: no such file, a line of another form, or a label below 0; the line is named.
    """
    lines = [(number, line.strip()) for number, line in enumerate(_text(listing).splitlines(), 1) if line.strip()]
    if not lines:
        raise UserError(f"{listing} names no image")
    return [_entry(line, f"{listing}, line {number}", folder) for number, line in lines]


def _entry(line: str, where: str, folder: Path) -> Entry:
    if _SEVERAL_LABELS.search(line):
        raise UserError(
            f"{where}: {_shown(line)} has several labels, and networks here give an image one class: lists of several "
            "labels for an image are not supported"
        )
    match = _LINE.fullmatch(line)
    if not match:
        raise UserError(f"{where} should have a path and a label number, such as 'cats/1.jpg 0'; it is {_shown(line)}")
    path, label = match["path"], int(match["label"])
    if label < 0:
        raise UserError(f"{where} has the label {label}; labels start at 0")
    if "\\" in path and not (folder / path).is_file():
        path = path.replace("\\", "/")
    if (path.startswith("/") or ".." in path) and not _is_inside(folder / path, folder):
        raise UserError(
            f"{where} leads out of image_root, which is {folder}; take a folder that holds all images as image_root"
        )
    return Entry(path, label)


def _is_inside(file: Path, folder: Path) -> bool:
    """Whether the path, its `..` taken into account, is one of the folder's."""
    base = os.path.abspath(folder)
    return os.path.commonpath([base, os.path.abspath(file)]) == base


def _text(listing: Path) -> str:
    if not listing.is_file():
        raise UserError(f"there is no list file {listing}; set cls_label_path, or -o Global.data_root=DIR")
    try:
        content = files.read(listing, files.TABLE)
    except OSError as error:
        raise UserError(f"{listing} cannot be read: {error.strerror}") from None
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ["utf-16"] if marked else ["utf-8-sig", "gb18030"]:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UserError(f"{listing} is no text in UTF-8, GBK or UTF-16; save it as UTF-8")


def _shown(line: str) -> str:
    return repr(line if len(line) <= 100 else f"{line[:100]}...")
