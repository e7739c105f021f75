"""The record of a finished training run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ppeconv import files
from ppeconv.errors import UserError, first_line

FORMAT = 1
"""Version of the record's layout."""


@dataclass
class Record:
    """A finished run. Accuracies are fractions of the evaluation images.

    The last epoch's accuracy is the result, as it was not chosen; the best one is there to compare with tables that
    report the best.
    """

    row: str
    table: str
    seed: int
    epochs: int
    last_top1: float
    best_top1: float
    best_epoch: int
    params: int
    """Trainable parameters."""
    macs: int
    """Multiply-adds of convolutions and linear layers, one image."""
    seconds: float
    """Of all epochs' training, evaluation not included."""
    data: str
    """The evaluation images, by their checksum: the name that rows.yaml has for it, else the data set's."""
    images_sha256: str
    """Of the evaluation images' pixels."""
    source: str
    """Tag or commit of the code."""
    versions: dict[str, str]
    computed_by: list[dict[str, Any]]
    """Threads, layers, CPU and Paddle, an entry each time one of them changed."""
    config: dict[str, Any]
    """The whole config."""
    widths: list[dict[str, int | float]]
    """Of an any-width network: accuracy and costs at each width."""
    weights_sha256: str | None
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Write `record.json`, whole or not at all."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"
        files.write_whole(folder / "record.json", text.encode())

    @classmethod
    def read(cls, folder: Path) -> Record:
        """What `write` wrote; raises UserError where it cannot be read or is something else."""
        file = folder / "record.json"
        try:
            content = json.loads(files.read(file, files.TEXT))
            if content["format"] == FORMAT:
                return _RECORD.validate_python(content)
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror}") from None
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise UserError(f"{file} is not the record of a training ({first_line(error)})") from None
        raise UserError(f"{file} has format {content['format']!r}; this ppeconv reads {FORMAT}")


_RECORD = TypeAdapter(Record)
