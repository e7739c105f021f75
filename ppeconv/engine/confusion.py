"""Per-class accuracy and the confusion matrix, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppeconv import files
from ppeconv.engine.evaluator import Evaluation
from ppeconv.engine.fonts import font_for

_LABELLED = 30


def write_per_class(result: Evaluation, names: Sequence[str], file: Path) -> None:
    """A row for each class: name, images, accuracy, and the class it is most often mistaken for."""
    rows: list[Sequence[Any]] = [["class", "images", "top1", "most_often_mistaken_for"]]
    for label, (name, row, top1) in enumerate(zip(names, result.confusion, result.per_class, strict=True)):
        mistakes = np.where(np.arange(len(row)) == label, 0, row)
        rows.append([name, row.sum(), top1, names[int(mistakes.argmax())] if mistakes.any() else ""])
    files.write_table(file, rows)


def draw_confusion(result: Evaluation, names: Sequence[str], file: Path) -> str:
    """The matrix as a picture: rows are the true classes, shares of each row as shades.

    Returns:
        A sentence where classes are numbered, as no installed font can write their names; else "".
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shares = result.confusion / np.maximum(result.confusion.sum(1, keepdims=True), 1)
    side = min(3 + 0.5 * len(names), 16)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), label="share of the true class")
    axes.set(xlabel="predicted", ylabel="true", title=f"top-1 {result.top1:.4f}")
    font = font_for(names)
    if len(names) <= _LABELLED:
        labels = names if font else [str(label) for label in range(len(names))]
        axes.set_xticks(range(len(names)), labels, rotation=90, fontproperties=font)
        axes.set_yticks(range(len(names)), labels, fontproperties=font)
        for (row, column), count in np.ndenumerate(result.confusion):
            if count:
                shade = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=shade)
    files.write_picture(file, figure, dpi=120)
    if font or len(names) > _LABELLED:
        return ""
    return (
        f"{file.name} numbers the classes from 0, in the order of the table: no installed font has all characters of "
        "their names; install one, such as the package fonts-noto-cjk for Chinese, delete matplotlib's font cache and "
        "evaluate again"
    )
