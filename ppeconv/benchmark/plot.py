"""The plot of latency against work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppeconv.benchmark.inference import InferenceSpeed


def draw(rows: Sequence[InferenceSpeed], file: str | Path) -> None:
    """Latency ratio over MAC ratio, a point for each network and runtime, a panel for each batch size.

    On the diagonal the time falls as the MACs do; above it, part of what was saved is lost.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sizes = list(dict.fromkeys(row.batch_size for row in rows))
    rows = [row for row in rows if row.time_ratio is not None]
    runtimes = list(dict.fromkeys(row.runtime for row in rows))
    end = 1.05 * max((max(row.mac_ratio, row.time_ratio) for row in rows), default=1)
    figure = Figure(figsize=(6 * len(sizes), 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        axes.plot([0, end], [0, end], color="grey", linewidth=1)
        for runtime in runtimes:
            points = [row for row in rows if (row.batch_size, row.runtime) == (size, runtime)]
            axes.scatter([row.mac_ratio for row in points], [row.time_ratio for row in points], s=16, label=runtime)
            for row in points:
                axes.annotate(
                    Path(row.network).name,
                    (row.mac_ratio, row.time_ratio),
                    xytext=(3, 3),
                    textcoords="offset points",
                    fontsize=6,
                )
        axes.set(title=f"batch {size}", xlabel="MAC ratio", ylabel="latency ratio", xlim=(0, end), ylim=(0, end))
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left")
    figure.savefig(file, dpi=120)
