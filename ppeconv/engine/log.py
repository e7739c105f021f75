"""What a run says on the screen and in its log file, in PaddleClas's format."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from ppeconv.engine import distributed, interrupt
from ppeconv.engine.listener import EpochRecord, Listener, StepRecord
from ppeconv.engine.progress import clock, shows_bars
from ppeconv.engine.trainer import Trainer

logger = logging.getLogger("ppeconv")
logger.propagate = False


def log_to(file: Path | None = None) -> None:
    """Send the log to the screen and, when given, to the end of a file; that of the first process alone."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    if not distributed.is_first():
        return
    handlers = [_Screen()] + ([logging.FileHandler(file, encoding="utf-8")] if file else [])
    for handler in handlers:
        handler.setFormatter(logging.Formatter("[%(asctime)s] ppeconv %(levelname)s: %(message)s", "%Y/%m/%d %H:%M:%S"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)


class _Screen(logging.Handler):
    """Lines on standard output that do not break a progress bar, nor say what it shows."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        if getattr(record, "in_bar", False) and shows_bars():
            return
        try:
            tqdm.write(self.format(record), file=sys.stdout)
        except BrokenPipeError:
            interrupt.ask(interrupt.PIPE)


class LogLines(Listener):
    """A line every few steps, one for each epoch and one for each evaluation.

    Args:
        every: steps between lines.
        schedule: name of the learning rate schedule.
    """

    def __init__(self, every: int, schedule: str):
        self.every, self.schedule = every, schedule
        self.steps = 0

    def step_done(self, trainer: Trainer, record: StepRecord) -> None:
        self.steps += 1
        if self.steps == min(10, len(trainer.batches)):
            logger.info(
                f"at this speed the remaining {trainer.total_steps - record.step} steps take about "
                f"{clock(record.eta)}, evaluation not included"
            )
        if (record.batch - 1) % self.every:
            return
        logger.info(
            f"[Train][Epoch {record.epoch}/{trainer.epochs}][Iter: {record.batch}/{len(trainer.batches)}]"
            f"lr({self.schedule}): {record.lr:.8f}, top1: {record.top1:.5f}, loss: {record.loss:.5f}, "
            f"batch_cost: {record.batch_cost:.5f}s, reader_cost: {record.reader_cost:.5f}, "
            f"ips: {record.ips:.5f} samples/s, eta: {clock(record.eta)}",
            extra={"in_bar": True},
        )

    def step_left_out(self, trainer: Trainer, reason: str) -> None:
        logger.warning(f"{reason}: left out, {trainer.progress.left_out} of at most {trainer.skip_nonfinite}")

    def epoch_done(self, trainer: Trainer, record: EpochRecord) -> None:
        logger.info(
            f"[Train][Epoch {record.epoch}/{trainer.epochs}][Avg]top1: {record.train_top1:.5f}, "
            f"loss: {record.train_loss:.5f}, ips: {record.ips:.5f} samples/s"
        )
        if trainer.evaluation:
            best = trainer.progress
            logger.info(f"[Eval][Epoch {record.epoch}][Avg]{trainer.evaluation.summary()}")
            logger.info(f"[Eval][Epoch {record.epoch}][best metric: {best.best_top1:.5f} in epoch {best.best_epoch}]")


class ProgressBar(Listener):
    """A bar for the epoch under way."""

    def __init__(self) -> None:
        self.bar: Any = None

    def step_done(self, trainer: Trainer, record: StepRecord) -> None:
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(
                total=len(trainer.batches),
                initial=record.batch - 1,
                leave=False,
                bar_format="{desc}{n_fmt}/{total_fmt} |{bar}|{postfix}",
                dynamic_ncols=True,
                file=sys.stdout,
            )
        self.bar.set_description(f"epoch {record.epoch}/{trainer.epochs}", refresh=False)
        self.bar.set_postfix_str(
            f"eta {clock(record.eta)}, loss {record.loss:.3f}, top1 {record.top1:.3f}, lr {record.lr:.3g}, "
            f"{record.ips:.0f} images/s",  # what a narrow terminal cuts off comes last
            refresh=False,
        )
        self.bar.update()
        if record.batch == len(trainer.batches):
            self._close()  # the evaluation has a bar of its own

    def epoch_done(self, trainer: Trainer, record: EpochRecord) -> None:
        self._close()

    def run_stopped(self, trainer: Trainer) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
