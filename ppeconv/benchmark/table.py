"""Measurements as a table on the screen and as CSV."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def as_text(rows: Sequence[Any]) -> str:
    """Dataclass rows in aligned columns under their field names."""
    lines = [_names(rows[0]), *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if index == 0 else cell.rjust(width) for index, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    )


def write_csv(rows: Sequence[Any], path: str | Path) -> None:
    """Dataclass rows under their field names."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_names(rows[0]))
        writer.writerows(map(_cells, rows))


def _names(row: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(row)]


def _cells(row: Any) -> list[str]:
    return [f"{value:.4g}" if isinstance(value, float) else str(value) for value in dataclasses.astuple(row)]
