"""A look at the data before a run begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ppeconv.data.datasets import ArraySet, FileSet
from ppeconv.errors import UserError

_DECODE_AT_MOST = 20_000
_NAMED = 20


def check_labels(dataset: ArraySet | FileSet, split: str, class_num: int) -> None:
    """Raise a UserError for a label outside 0 to class_num - 1."""
    lowest, highest = int(dataset.labels.min()), int(dataset.labels.max())
    if lowest < 0 or highest >= class_num:
        wrong = lowest if lowest < 0 else highest
        raise UserError(
            f"the {split} data have the label {wrong}, but Arch.class_num is {class_num}; labels go from 0 to "
            "class_num - 1"
        )


def check_files(datasets: Sequence[ArraySet | FileSet]) -> str:
    """Open every image file; unreadable ones are raised as a UserError. Returns what was done, as a sentence."""
    paths = [path for dataset in datasets if isinstance(dataset, FileSet) for path in dataset.paths]
    decode = len(paths) <= _DECODE_AT_MOST
    with ThreadPoolExecutor() as pool:
        problems = list(pool.map(_decoding_problem if decode else _header_problem, paths))
    bad = [f"{path} ({problem})" for path, problem in zip(paths, problems, strict=True) if problem]
    if bad:
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise UserError(
            f"{len(bad)} of {len(paths)} images cannot be read: {'; '.join(bad[:_NAMED])}{more}; repair or remove them"
        )
    return f"{len(paths)} image files {'decoded' if decode else 'opened (headers only)'}" if paths else ""


def describe(dataset: ArraySet | FileSet, split: str) -> str:
    """Images, classes and their balance, as a line."""
    counts = np.bincount(dataset.labels, minlength=len(dataset.class_names))
    names = dataset.class_names
    few, many = int(counts.argmin()), int(counts.argmax())
    text = f"{split} data: {len(dataset)} images, {np.count_nonzero(counts)} of {len(names)} classes present"
    if len(names) <= 10:
        return f"{text}: " + ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    return f"{text}, from {counts[few]} ({names[few]}) to {counts[many]} ({names[many]}) images each"


def imbalance(dataset: ArraySet | FileSet) -> str:
    """A warning where the classes of the training data are far from balanced, else nothing."""
    counts = np.bincount(dataset.labels, minlength=len(dataset.class_names))
    if counts.min() == 0:
        absent = [dataset.class_names[label] for label in np.flatnonzero(counts == 0)]
        return f"no training image of {len(absent)} classes: {', '.join(absent[:_NAMED])}"
    if counts.max() >= 3 * counts.min():
        return (
            f"the classes are imbalanced: the largest has {counts.max() / counts.min():.1f} times the images of the "
            "smallest; look at the per-class accuracy of tools/eval.py"
        )
    return ""


def _header_problem(path: Path) -> str:
    return _problem(path, Image.Image.verify)


def _decoding_problem(path: Path) -> str:
    return _problem(path, _decode_small)


def _decode_small(image: Image.Image) -> None:
    image.draft("RGB", (32, 32))  # a JPEG is read to its end, but scaled down on the way
    image.load()


def _problem(path: Path, look: Callable[[Image.Image], None]) -> str:
    try:
        with Image.open(path) as image:
            look(image)
    except Exception as error:  # Pillow raises many kinds for damaged files
        return f"{type(error).__name__}: {error}".replace(f" {str(path)!r}", "")
    return ""
