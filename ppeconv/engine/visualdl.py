"""Curves, sample images and hyper-parameters for VisualDL."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppeconv.data.datasets import DataSet
from ppeconv.engine.listener import EpochRecord, Listener, StepRecord
from ppeconv.engine.trainer import Trainer
from ppeconv.errors import UserError

if TYPE_CHECKING:
    from visualdl import LogWriter


class VisualDL(Listener):
    """Writes into a folder that `visualdl --logdir` shows.

    Training and evaluation have a sub-folder each and the same tag for the same quantity, which makes them two curves
    of one chart. VisualDL groups charts by what stands before the slash and opens the first group, `epoch`.

    Args:
        folder: the run's `vdl/`.
        hparams: settings shown beside the result.
        samples: name -> uint8 [H, W, C] image, shown once.
        every: steps between points of the curves over steps.
    """

    def __init__(self, folder: Path, hparams: dict[str, Any], samples: Mapping[str, np.ndarray], every: int):
        self.files = {side: folder / side / "vdlrecords.1.log" for side in ("train", "eval")}
        self.hparams, self.samples, self.every = hparams, samples, every
        self.writers: dict[str, LogWriter] = {}
        self.sizes: dict[str, int] = {}

    def run_started(self, trainer: Trainer) -> None:
        for side, size in self.sizes.items():
            if self.files[side].is_file():
                os.truncate(self.files[side], min(size, self.files[side].stat().st_size))
        new = not self.files["eval"].is_file()
        self._open()
        if new:
            self.writers["eval"].add_hparams(self.hparams, ["epoch/top1"])
            for name, image in self.samples.items():
                tag = f"samples/{re.sub('[%/]', '_', name)}"
                self.writers["eval"].add_image(tag, np.repeat(image, 3, 2) if image.shape[2] == 1 else image, 0)

    def step_done(self, trainer: Trainer, record: StepRecord) -> None:
        if record.step == 1 or record.step % self.every == 0:
            for name in ("loss", "top1", "lr", "ips"):
                self.writers["train"].add_scalar(f"step/{name}", getattr(record, name), record.step)

    def epoch_done(self, trainer: Trainer, record: EpochRecord) -> None:
        train, result = {"loss": record.train_loss, "top1": record.train_top1}, trainer.evaluation
        evaluated = {"loss": result.loss, **{f"top{k}": share for k, share in result.topk.items()}} if result else {}
        for side, values in (("train", train), ("eval", evaluated)):
            for name, value in values.items():
                self.writers[side].add_scalar(f"epoch/{name}", value, record.epoch)

    def run_ended(self, trainer: Trainer) -> None:
        self._close()

    def state(self) -> dict[str, dict[str, int]]:
        """The lengths of the records, so that a resumed run can cut off what was written after the checkpoint."""
        self._close()
        sizes = {side: file.stat().st_size if file.is_file() else 0 for side, file in self.files.items()}
        self._open()
        return {"sizes": sizes}

    def restore(self, state: dict[str, Any]) -> None:
        sizes = state.get("sizes", {})  # the state of an earlier version is of one file
        self.sizes = {side: max(0, int(sizes[side])) for side in self.files if side in sizes}

    def _open(self) -> None:
        from visualdl import LogWriter

        with contextlib.redirect_stdout(io.StringIO()):  # it remarks on every file that it goes on with
            self.writers = {
                side: LogWriter(logdir=str(file.parent), file_name=file.name, flush_secs=5)
                for side, file in self.files.items()
            }

    def _close(self) -> None:
        for writer in self.writers.values():
            writer.close()


def samples(dataset: DataSet, names: Sequence[str], count: int = 8) -> dict[str, np.ndarray]:
    """Images [H, W, C] spread evenly over a data set, by number and class; those that can be read."""
    numbers = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)
    chosen = {}
    for number in numbers:
        with contextlib.suppress(UserError):
            chosen[f"{number} {names[dataset.labels[number]]}"] = dataset.read(number[None])[0]
    return chosen
