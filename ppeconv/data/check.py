"""A look at the data before a run begins."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from ppeconv.data.classes import absent
from ppeconv.data.datasets import DataSet, FileSet
from ppeconv.data.images import image_problem
from ppeconv.errors import UserError

_DECODE_AT_MOST = 20_000
_NAMED = 20


def look_at(datasets: Sequence[DataSet]) -> list[str]:
    """What there is to say of training and evaluation data, in lines; unreadable files are raised as a UserError."""
    sides = list(zip(datasets, ("training", "evaluation"), strict=True))
    lines = [_classes(dataset, split) for dataset, split in sides]
    lines += [f"{split} data, left out: {dataset.left_out}" for dataset, split in sides if dataset.left_out]
    lines += [absent(dataset, split) for dataset, split in sides]
    return [line for line in (*lines, _imbalance(datasets[0]), _overlap(*datasets), _open_files(datasets)) if line]


def _open_files(datasets: Sequence[DataSet]) -> str:
    paths = [path for dataset in datasets if isinstance(dataset, FileSet) for path in dataset.paths]
    decode = len(paths) <= _DECODE_AT_MOST
    with ThreadPoolExecutor() as pool:
        bad = [problem for problem in pool.map(partial(image_problem, headers_only=not decode), paths) if problem]
    if bad:
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise UserError(
            f"{len(bad)} of {len(paths)} images cannot be read: {'; '.join(bad[:_NAMED])}{more}; repair or remove them"
        )
    return f"{len(paths)} image files {'decoded' if decode else 'opened (headers only)'}" if paths else ""


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
