"""A look at the data before a run begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np

from ppeconv.data.classes import absent
from ppeconv.data.datasets import DataSet, FileSet
from ppeconv.data.images import image_problem
from ppeconv.errors import UserError

_READ_ALL, _READ_SOME = 20_000, 2_000
"""Images that are all read before a run begins; of more so many of either side, which takes seconds."""
_NAMED = 20


def look_at(datasets: Sequence[DataSet], skip_unreadable: Sequence[float] = (0, 0)) -> list[str]:
    """What there is to say of training and evaluation data, in lines.

    Args:
        datasets: for training and for evaluation.
        skip_unreadable: how many images that cannot be read either of them may leave out.

    Raises:
        UserError: there are more.
    """
    sides = list(zip(datasets, ("training", "evaluation"), strict=True))
    lines = [_classes(dataset, split) for dataset, split in sides]
    lines += [f"{split} data, left out: {dataset.left_out}" for dataset, split in sides if dataset.left_out]
    lines += [absent(dataset, split) for dataset, split in sides]
    lines += [_imbalance(datasets[0]), _overlap(*datasets), *_open_files(datasets, skip_unreadable)]
    return [line for line in lines if line]


def _open_files(datasets: Sequence[DataSet], skip_unreadable: Sequence[float]) -> list[str]:
    sides = [dataset.paths if isinstance(dataset, FileSet) else [] for dataset in datasets]
    count = sum(map(len, sides))
    steps = [1 if count <= _READ_ALL else len(paths) // _READ_SOME + 1 for paths in sides]
    bad = [_problems(paths, step) for paths, step in zip(sides, steps, strict=True)]
    problems = list(chain(*bad))
    more = f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    found = f"{len(problems)} of {count} images cannot be read: {'; '.join(problems[:_NAMED])}{more}"
    if any(len(own) > most for own, most in zip(bad, skip_unreadable, strict=True)):
        raise UserError(f"{found}; repair or remove them, or set loader.skip_unreadable, see docs/config.md")
    read = sum(len(paths[::step]) for paths, step in zip(sides, steps, strict=True))
    looked = f"{count} image files" + (" decoded" if read == count else f", {read} of them decoded")
    return [looked * (count > 0), f"warning: {found}" * bool(problems)]


def _problems(paths: Sequence[Path], step: int) -> list[str]:
    """What is wrong with files: every so many are read, of the others is looked whether they are there."""
    with ThreadPoolExecutor() as pool:
        unreadable = [problem for problem in pool.map(image_problem, paths[::step]) if problem]
    others = (path for number, path in enumerate(paths) if number % step)
    return unreadable + [f"there is no image {path}" for path in others if not os.path.isfile(path)]


def _classes(dataset: DataSet, split: str) -> str:
    counts, names = np.bincount(dataset.labels, minlength=len(dataset.class_names)), dataset.class_names
    few, many = int(counts.argmin()), int(counts.argmax())
    text = f"{split} data: {len(dataset)} images, {np.count_nonzero(counts)} of {len(names)} classes present"
    if len(names) <= 10:
        return f"{text}: " + ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
    return f"{text}, from {counts[few]} ({names[few]}) to {counts[many]} ({names[many]}) images each"


def _imbalance(dataset: DataSet) -> str:
    counts = np.bincount(dataset.labels, minlength=len(dataset.class_names))
    if counts.max() >= 3 * counts.min() > 0:
        return (
            f"warning: the classes are imbalanced: the largest has {counts.max() / counts.min():.1f} times the images "
            "of the smallest; look at the per-class accuracy of tools/eval.py"
        )
    return ""


def _overlap(training: DataSet, evaluation: DataSet) -> str:
    both = {*getattr(training, "paths", ())} & {*getattr(evaluation, "paths", ())}
    if not both:
        return ""
    return f"warning: {len(both)} images are trained on and evaluated on, {min(both)} for one; top1 will be too high"
