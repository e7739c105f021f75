"""Several widths of one network exported side by side, and a predictor that picks one for each call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from paddle import nn
from pydantic import BaseModel, ConfigDict, Field

from ppeconv.anywidth import count_width, narrow
from ppeconv.data.inputs import Input, as_list
from ppeconv.deployment.export import as_targets, export
from ppeconv.deployment.facts import Facts, read_facts
from ppeconv.deployment.latency import median_ms
from ppeconv.deployment.predictor import Prediction, Predictor
from ppeconv.deployment.publish import TABLE, publishing
from ppeconv.deployment.runtimes import open_runtime
from ppeconv.errors import UserError
from ppeconv.schema.values import to_yaml

FORMAT = 1
BATCHES = (1, 8, 32)
"""Batch sizes whose latency is measured."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)
    width: Annotated[float, Field(gt=0, le=1)]
    folder: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    latency_ms: Annotated[dict[Annotated[int, Field(ge=1)], Annotated[float, Field(gt=0)]], Field(min_length=1)]


class _Table(Facts):
    """What `widths.yml` says."""

    runtime: str
    threads: Annotated[int, Field(ge=1)]
    widths: Annotated[list[_Row], Field(min_length=1)]


def export_widths(
    model: nn.Layer,
    folder: str | Path,
    input_shape: Sequence[int],
    widths: Sequence[float],
    description: Mapping[str, Any] | None = None,
    threads: int = 1,
    to: str | Sequence[str] = ("paddle",),
    targets: Sequence[str] | None = None,
) -> dict[float, float]:
    """Write each width as an ordinary small network into `<folder>/width_<w>/`, and their latencies into a table.

    An export that stood there is replaced once the new one is complete.

    Args:
        model: an any-width network; a US-Net has to be calibrated at these widths.
        folder, input_shape, description, to, targets: see `export`; the latencies are those of the first runtime.
        widths: in (0, 1].
        threads: CPU threads of the measurement.

    Returns:
        Width -> largest difference between the exported network and the given one at that width.
    """
    differences: dict[float, float] = {}
    rows: list[dict[str, Any]] = []
    targets = as_targets(to if targets is None else targets)
    with publishing(Path(folder).expanduser()) as staged:
        for width in sorted({float(width) for width in widths}):
            place = staged / f"width_{width:g}"
            facts = {**(description or {}), "width": width}
            differences[width] = export(narrow(model, width), place, input_shape, facts, to=targets)
            counts = count_width(model, [1, *input_shape], width)
            rows.append({"width": width, "folder": place.name, "params": counts.active_params, "macs": counts.macs})
        runtimes = {row["width"]: open_runtime(staged / row["folder"], targets[0], threads) for row in rows}
        for row in rows:
            row["latency_ms"] = {}
        for batch in BATCHES:
            images = np.random.default_rng(0).standard_normal((batch, *input_shape), np.float32)
            for row, value in zip(rows, median_ms(runtimes, images).values(), strict=True):
                row["latency_ms"][batch] = round(value, 4)
        table = {"format": FORMAT, "runtime": targets[0], "threads": threads, "widths": rows}
        (staged / TABLE).write_text(to_yaml(table), "utf-8")
    return differences


class AnyWidthPredictor:
    """Image files or arrays in, classes out, by the widest of several networks that fits a latency budget.

    Each width is a network of its own, so calls from several threads do not disturb each other.

    Args:
        folder: what `export_widths`, or `tools/export.py --widths`, wrote.
        threads: CPU threads; those of the measurement when not given.
        device: "cpu" or "gpu".
        runtime: one that the networks were exported for; that of the measurement when not given.
        precision: see `Runtime`.
        keep_freed_pages: see `Predictor`.
    """

    def __init__(
        self,
        folder: str | Path,
        threads: int | None = None,
        device: str = "cpu",
        runtime: str | None = None,
        precision: str = "float32",
        keep_freed_pages: bool = False,
    ):
        maker = "tools/export.py --widths 0.25 0.5 1"
        folder = Path(folder).expanduser()
        table = read_facts(folder / TABLE, _Table, FORMAT, "a folder of several widths", maker)
        self.rows: list[dict[str, Any]] = sorted(
            (row.model_dump() for row in table.widths), key=lambda row: row["width"]
        )
        options = threads or table.threads, device, runtime or table.runtime, precision, keep_freed_pages
        self.predictors = {row["width"]: Predictor(folder / row["folder"], *options) for row in self.rows}

    def expected_ms(self, width: float, batch: int = 1) -> float:
        """The measured latency of a batch, of the next larger one measured, or in proportion to the largest."""
        measured = next(row["latency_ms"] for row in self.rows if row["width"] == width)
        largest = max(measured)
        fitting = min((size for size in measured if size >= batch), default=largest)
        return measured[fitting] * max(1.0, batch / largest)

    def width_for(self, budget_ms: float, batch: int = 1) -> float:
        """The widest width within the budget; the narrowest where none is."""
        if budget_ms <= 0:
            raise UserError(f"a latency budget is a number of milliseconds above 0; got {budget_ms}")
        fitting = [row["width"] for row in self.rows if self.expected_ms(row["width"], batch) <= budget_ms]
        return max(fitting, default=self.rows[0]["width"])

    def predict(
        self,
        images: Input | Iterable[Input],
        topk: int = 5,
        batch_size: int = 32,
        budget_ms: float | None = None,
        unreadable: Callable[[UserError], None] | None = None,
    ) -> Iterator[Prediction]:
        """A Prediction for each image, as `Predictor.predict`; the budget is for one batch, None takes the widest."""
        images = as_list(images)
        batch = min(batch_size, max(1, len(images)))
        width = self.rows[-1]["width"] if budget_ms is None else self.width_for(budget_ms, batch)
        return self.predictors[width].predict(images, topk, batch_size, unreadable)


def holds_widths(folder: str | Path) -> bool:
    """Whether several widths were exported into a folder."""
    return (Path(folder).expanduser() / TABLE).is_file()
