"""The training curves of several networks side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ppeconv.choosing.contenders import Contender
from ppeconv.files import save_figure

PANELS = {"loss in training": "train_loss", "loss in evaluation": "eval_loss", "top-1 in evaluation": "eval_top1"}
"""Title -> column of the table of epochs."""


def draw_curves(compared: Sequence[Contender], titles: Mapping[str, str], file: str | Path) -> None:
    """Losses and accuracy over the epochs: a colour for each network, a line for each of its runs.

    Args:
        compared: those with a table of epochs are drawn.
        titles: by name.
        file: its suffix says the format, such as .svg or .png.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(15, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subplots(1, len(PANELS))
    for axes, (title, column) in zip(places, PANELS.items(), strict=True):
        for number, contender in enumerate(compared):
            for position, run in enumerate(contender.runs):
                points = [(row["epoch"], row[column]) for row in run.epochs if row.get(column) is not None]
                axes.plot(
                    *(zip(*points, strict=True) if points else ([], [])),
                    color=f"C{number % 10}",
                    linestyle=("-", "--", ":", "-.")[number // 10 % 4],
                    linewidth=1.2,
                    label=None if position else titles[contender.name],
                )
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    figure.legend(*places[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    save_figure(figure, file)
