"""The rows of the zoo's tables: a config, what is changed of it, and the seeds it is trained with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ppeconv.errors import UserError, nearest
from ppeconv.schema import Section, check, values

if TYPE_CHECKING:
    from ppeconv.experiment import Experiment

ROWS = Path(__file__).with_name("rows.yaml")


class Row(Section):
    """One network that is trained."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """Of its records' folder."""
    table: str
    """The table that it is a row of; all of a table's rows are trained alike."""
    config: str
    """Name of a shipped config."""
    schedule: str | None = None
    """Name of a file in configs/_base_/schedules that replaces the config's schedule."""
    overrides: list[str] = []
    """`Section.key=value`, as behind -o."""
    seeds: list[int] = [1]
    weights: bool = True
    """Whether the weights of the first seed are kept."""


class Job(Section):
    """A row with one of its seeds: one training run."""

    row: Row
    seed: int

    @property
    def name(self) -> str:
        """Of its run folder and of its table of results."""
        return f"{self.row.name}_seed{self.seed}"

    @property
    def folder(self) -> Path:
        """Of its record, from the package's folder of records."""
        return Path(self.row.name) / f"seed{self.seed}"

    def experiment(self, folder: Path | None = None, overrides: Sequence[str] = ()) -> Experiment:
        """What is trained, into a folder, with further settings behind those of the row."""
        from ppeconv.experiment import Experiment

        schedule = [f"_base_/schedules/{self.row.schedule}.yaml"] if self.row.schedule else []
        settings = [*self.row.overrides, f"Global.seed={self.seed}", *overrides]
        return Experiment({"_base_": [self.row.config, *schedule]}, settings, folder=folder)


def read_jobs(file: Path = ROWS) -> list[Job]:
    """All runs in order: table by table, and in a table first every row with its first seed, then with its second."""
    rows = [check(Row, entry) for entry in _content(file)["rows"]]
    tables = list(dict.fromkeys(row.table for row in rows))
    jobs = [(index, Job(row=row, seed=seed)) for row in rows for index, seed in enumerate(row.seeds)]
    return [job for _, job in sorted(jobs, key=lambda entry: (tables.index(entry[1].row.table), entry[0]))]


def chosen(jobs: Sequence[Job], names: Sequence[str]) -> list[Job]:
    """The runs of the rows of these names, or of these run names; all where none is given."""
    known = {name for job in jobs for name in (job.row.name, job.name)}
    for name in names:
        if name not in known:
            raise UserError(f"the zoo has no row {name!r}{nearest(name, known)}")
    return [job for job in jobs if not names or {job.row.name, job.name} & set(names)]


def named_images(digest: str, dataset: str, file: Path = ROWS) -> str:
    """What evaluation images of a checksum are called: some are known to be, or not to be, the published ones."""
    return _content(file)["images"].get(digest, f"{dataset} (unknown images, {digest[:12]})")


def _content(file: Path) -> dict[str, Any]:
    return values.from_yaml(file.read_text("utf-8"), str(file))
