"""What an any-width network gives and costs at many widths: a table, a plot, curves, one number."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from ppeconv import files
from ppeconv.anywidth import count_width, narrow
from ppeconv.deployment.export import export
from ppeconv.deployment.latency import median_ms
from ppeconv.deployment.runtimes.paddle import PaddleRuntime
from ppeconv.engine.evaluator import Evaluation


@dataclass
class WidthRow:
    """One width; counts are for one image, 1 multiply-add = 1 MAC."""

    width: float
    top1: float
    loss: float
    active_params: int
    """Trainable parameters in use; masked weights are not."""
    macs: int
    """As the layers run."""
    active_macs: int
    """With weights that are not masked."""
    latency_ms: float
    """Median of the exported network, Paddle Inference with oneDNN."""
    batch: int
    threads: int


def sweep(
    model: nn.Layer,
    widths: Sequence[float],
    evaluate: Callable[[nn.Layer], Evaluation],
    input_shape: Sequence[int],
    batch: int = 1,
    threads: int = 1,
) -> list[WidthRow]:
    """Evaluate, count and time each width, each as a network of its own.

    Args:
        model: an any-width network; a US-Net has to be calibrated at these widths.
        widths: in (0, 1].
        evaluate: evaluates a network.
        input_shape: [C, H, W].
        batch, threads: of the latency.
    """
    widths, results = sorted({float(width) for width in widths}), {}
    with tempfile.TemporaryDirectory() as folder:
        for width in widths:
            network = narrow(model, width)
            network.eval()
            results[width] = evaluate(network)
            export(network, Path(folder) / str(width), input_shape)
        runtimes = {width: PaddleRuntime(Path(folder) / str(width), threads) for width in widths}
        images = np.random.default_rng(0).standard_normal((batch, *input_shape), np.float32)
        latencies = median_ms(runtimes, images)
    rows = []
    for width, result in results.items():
        counts = count_width(model, [1, *input_shape], width)
        costs = counts.active_params, counts.macs, counts.active_macs
        rows.append(WidthRow(round(width, 4), result.top1, result.loss, *costs, latencies[width], batch, threads))
    return rows


def area(rows: Sequence[WidthRow], low: float = 0.25) -> float:
    """Area under the accuracy-width curve over [low, 1], divided by its length: the mean accuracy of a width."""
    widths, top1 = [row.width for row in rows], [row.top1 for row in rows]
    inner = [width for width in widths if low < width < 1]
    grid = np.array([max(low, widths[0]), *[width for width in inner if width > max(low, widths[0])], 1.0])
    values = np.interp(grid, widths, top1)
    lengths = np.diff(grid)
    return (
        float((lengths * (values[1:] + values[:-1]) / 2).sum() / lengths.sum()) if lengths.sum() else float(values[0])
    )


def write_csv(rows: Sequence[WidthRow], file: Path) -> None:
    """The rows as a table."""
    files.write_table(file, [[field.name for field in fields(WidthRow)], *map(astuple, rows)])


def read_csv(file: Path) -> list[WidthRow]:
    """What `write_csv` wrote."""
    kinds: dict[str, Callable[[str], Any]] = {
        field.name: float if field.type == "float" else int for field in fields(WidthRow)
    }
    with open(file, encoding="utf-8") as source:
        return [WidthRow(**{key: kinds[key](value) for key, value in row.items()}) for row in csv.DictReader(source)]


def draw(rows: Sequence[WidthRow], file: Path) -> None:
    """Accuracy over width, over MACs and over latency."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    titles = {"width": "width", "active_macs": "MACs", "latency_ms": f"ms, batch {rows[0].batch}"}
    for axes, (column, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        axes.plot([getattr(row, column) for row in rows], [row.top1 for row in rows], marker=".")
        axes.set_xlabel(title)
        axes.set_ylabel("top-1")
        axes.grid(alpha=0.3)
    files.write_picture(file, figure, dpi=100)


def write_curves(rows: Sequence[WidthRow], folder: Path) -> None:
    """The same as VisualDL curves; a curve's step is the width in percent."""
    from visualdl import LogWriter

    file = folder / "vdlrecords.1.log"
    file.unlink(missing_ok=True)
    with LogWriter(logdir=str(folder), file_name=file.name) as writer:
        for row in rows:
            for column in ("top1", "loss", "active_params", "macs", "active_macs", "latency_ms"):
                writer.add_scalar(f"width/{column}", getattr(row, column), round(100 * row.width))
