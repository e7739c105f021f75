"""`results.csv`, a row for each epoch, and `curves.png` drawn from it, where matplotlib is installed."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppeconv import files
from ppeconv.engine.listener import EpochRecord, Listener
from ppeconv.engine.trainer import Trainer
from ppeconv.errors import UserError
from ppeconv.extras import installed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = [field.name for field in fields(EpochRecord)]


class Results(Listener):
    """Writes the table anew after every epoch, so that it is whole at any moment."""

    def __init__(self, file: Path):
        self.file = file
        self.rows: list[dict[str, Any]] = []

    def run_started(self, trainer: Trainer) -> None:
        if self.rows:
            self._write()

    def epoch_done(self, trainer: Trainer, record: EpochRecord) -> None:
        self.rows = [row for row in self.rows if row["epoch"] < record.epoch] + [asdict(record)]
        self._write()

    def _write(self) -> None:
        files.write_table(self.file, [COLUMNS, *([row[name] for name in COLUMNS] for row in self.rows)])
        if installed("matplotlib"):
            files.write_picture(self.file.with_name("curves.png"), curves(self.rows), dpi=100)

    def state(self) -> dict[str, list]:
        return {"rows": self.rows}

    def restore(self, state: dict[str, list]) -> None:
        self.rows = [{name: _plain(row[name]) for name in COLUMNS} for row in state["rows"]]


def read_results(file: Path) -> list[dict[str, float | None]]:
    """The rows of a table that `Results` wrote; none where it is not there yet.

    Raises:
        UserError: it is another table, or none.
    """
    if not file.is_file():
        return []
    try:
        rows = csv.DictReader(io.StringIO(files.read(file, files.TABLE).decode(), newline=""))
        if lacking := {*COLUMNS} - {*(rows.fieldnames or ())}:
            raise UserError(f"{file} is not the table of a training: it has no column {min(lacking)}")
        return [{name: _number(name, row[name]) for name in COLUMNS} for row in rows]
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, csv.Error) as error:
        raise UserError(f"{file} is not the table of a training ({type(error).__name__}: {error})") from None


def _number(column: str, text: str) -> float | None:
    if not text:
        return None
    return int(text) if column == "epoch" else float(text)


def _plain(value: Any) -> float | None:
    """A number of a row as it is."""
    if value is not None and not isinstance(value, (int, float)):
        raise TypeError(f"a row of results holds a {type(value).__name__}")
    return value


def curves(rows: list[dict[str, Any]]) -> Figure:
    """Loss, top-1 and learning rate over the epochs, the best one marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(12, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = {"loss": ("train_loss", "eval_loss"), "top-1": ("train_top1", "eval_top1"), "learning rate": ("lr",)}
    evaluated = [row for row in rows if row["eval_top1"] is not None]
    best = max(evaluated, key=lambda row: row["eval_top1"], default=None)
    for axes, (title, columns) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for column in columns:
            points = [(row["epoch"], row[column]) for row in rows if row[column] is not None]
            axes.plot(*zip(*points, strict=True) if points else ([], []), marker=".", label=column)
        if best and title != "learning rate":
            axes.axvline(best["epoch"], color="grey", linestyle="--", linewidth=1, label=f"best: epoch {best['epoch']}")
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure
