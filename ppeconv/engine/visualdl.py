"""Curves, sample images and hyper-parameters for VisualDL."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from visualdl import LogWriter

from ppeconv.engine.listener import EpochRecord, Listener, StepRecord
from ppeconv.engine.trainer import Trainer


class VisualDL(Listener):
    """Writes into a folder that `visualdl --logdir` shows.

    Args:
        folder: the run's `vdl/`.
        hparams: settings shown beside the result.
        samples: uint8 [N, H, W, C] images shown once.
        every: steps between points of the curves.
    """

    def __init__(self, folder: Path, hparams: dict[str, Any], samples: np.ndarray | list[np.ndarray], every: int):
        self.file = folder / "vdlrecords.1.log"
        self.hparams, self.samples, self.every = hparams, samples, every
        self.writer: LogWriter | None = None

    def run_started(self, trainer: Trainer) -> None:
        self._open()
        if trainer.progress.step == 0:
            self.writer.add_hparams(self.hparams, ["eval/top1"])
            for index, image in enumerate(self.samples):
                self.writer.add_image(f"samples/{index}", np.repeat(image, 3, 2) if image.shape[2] == 1 else image, 0)

    def step_done(self, trainer: Trainer, record: StepRecord) -> None:
        if record.step == 1 or record.step % self.every == 0:
            for name in ("loss", "top1", "lr", "ips"):
                self.writer.add_scalar(f"train/{name}", getattr(record, name), record.step)

    def epoch_done(self, trainer: Trainer, record: EpochRecord) -> None:
        self.writer.add_scalar("epoch/train_loss", record.train_loss, record.epoch)
        self.writer.add_scalar("epoch/train_top1", record.train_top1, record.epoch)
        if trainer.evaluation:
            self.writer.add_scalar("eval/loss", trainer.evaluation.loss, record.epoch)
            for k, share in trainer.evaluation.topk.items():
                self.writer.add_scalar(f"eval/top{k}", share, record.epoch)

    def run_ended(self, trainer: Trainer) -> None:
        self.writer.close()

    def state(self) -> dict[str, int]:
        """The length of the records, so that a resumed run can cut off what was written after the checkpoint."""
        self.writer.close()
        size = self.file.stat().st_size
        self._open()
        return {"size": size}

    def restore(self, state: dict[str, int]) -> None:
        if self.file.is_file():
            os.truncate(self.file, min(state["size"], self.file.stat().st_size))

    def _open(self) -> None:
        self.writer = LogWriter(logdir=str(self.file.parent), file_name=self.file.name, flush_secs=5)
