"""The plot of latency against work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppeconv.benchmark.inference import InferenceSpeed
from ppeconv.files import save_figure


def draw(rows: Sequence[InferenceSpeed], file: str | Path) -> None:
    """Latency ratio over MAC ratio, a point for each network and runtime, a panel for each batch size.

    On the diagonal the time falls as the MACs do; above it, part of what was saved is lost.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sizes = list(dict.fromkeys(row.batch_size for row in rows))
    rows = [row for row in rows if row.time_ratio is not None]
    labels = _short([row.network for row in rows])
    work = [row.mac_ratio for row in rows] or [1.0]
    figure = Figure(figsize=(6 * len(sizes), 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        for runtime in dict.fromkeys(row.runtime for row in rows):
            points = [row for row in rows if (row.batch_size, row.runtime) == (size, runtime)]
            axes.scatter([row.mac_ratio for row in points], [row.time_ratio for row in points], s=16, label=runtime)
            for row in points:
                place = row.mac_ratio, row.time_ratio
                axes.annotate(labels[row.network], place, xytext=(3, 3), textcoords="offset points", fontsize=6)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.plot([min(work), max(work)], [min(work), max(work)], color="grey", linewidth=1, label="time = MACs")
        axes.set(title=f"batch {size}", xlabel="MAC ratio", ylabel="latency ratio")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    save_figure(figure, file, dpi=120)


def _short(names: Sequence[str]) -> dict[str, str]:
    """The names without their folders and without the words that all of them share."""
    words = {name: Path(name).stem.split("_") for name in names}
    shared = set.intersection(*map(set, words.values())) if words else set()
    return {name: "_".join(word for word in own if word not in shared) or name for name, own in words.items()}
