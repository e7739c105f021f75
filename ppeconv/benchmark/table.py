"""Measurements as a table on the screen and as CSV."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

Row = TypeVar("Row")

_READ: dict[Any, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "int | None": lambda text: int(text) if text else None,
    "float | None": lambda text: float(text) if text else None,
}


def as_text(rows: Sequence[Any]) -> str:
    """Dataclass rows in aligned columns under their field names; columns that are empty everywhere are left out."""
    return aligned(_names(type(rows[0])), [dataclasses.astuple(row) for row in rows])


def aligned(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows in aligned columns under these names; columns that are empty everywhere are left out."""
    columns = []
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        cells = list(map(_cell, column))
        if any(cells):
            width = max(map(len, [name, *cells]))
            align = str.ljust if any(isinstance(value, str) for value in column) else str.rjust
            columns.append([align(cell, width) for cell in (name, *cells)])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def as_markdown(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as a table in Markdown."""
    lines = [names, ["---"] * len(names), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def in_line(facts: Mapping[str, str], without: Collection[str] = ()) -> str:
    """Facts that have a value, for a Chinese page: cpu AMD EPYC，threads 2."""
    return "，".join(f"{name} {value}" for name, value in facts.items() if value and name not in without)


def between(page: str, mark: str, text: str) -> str:
    """A page with this text between its marks `<!-- mark:begin -->` and `<!-- mark:end -->`, each on a line."""
    begin, end = f"<!-- {mark}:begin -->\n", f"<!-- {mark}:end -->\n"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the page has no marks {mark}:begin and {mark}:end")
    return before + begin + text + end + after


def write_csv(rows: Sequence[Any], path: str | Path, facts: Mapping[str, str]) -> None:
    """Dataclass rows under their field names, and in further columns the facts that all of them share."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*_names(type(rows[0])), *facts])
        writer.writerows([*map(_cell, dataclasses.astuple(row)), *facts.values()] for row in rows)


def read_csv(path: str | Path, kind: type[Row]) -> tuple[list[Row], dict[str, str]]:
    """What `write_csv` wrote: rows of a dataclass, and the facts."""
    with open(path, encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    read = {field.name: _READ[field.type] for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # a dataclass, which has no name as a type
    rows = [kind(**{name: read[name](line[name]) for name in read}) for line in lines]
    return rows, {name: value for name, value in lines[0].items() if name not in read}


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
