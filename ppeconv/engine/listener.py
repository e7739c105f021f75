"""What listens to a run: it is told of every step and epoch and changes nothing of the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppeconv.engine.trainer import Trainer


@dataclass
class StepRecord:
    """One batch. Times in seconds, `ips` in images per second over the steps since the last record."""

    epoch: int
    batch: int
    step: int
    lr: float
    loss: float
    top1: float
    batch_cost: float
    reader_cost: float
    ips: float
    eta: float
    """Estimated seconds until the run ends."""


@dataclass
class EpochRecord:
    """One epoch, with the fields that `results.csv` has. Accuracies are fractions; None where not evaluated."""

    epoch: int
    lr: float
    train_loss: float
    train_top1: float
    eval_loss: float | None
    eval_top1: float | None
    eval_top5: float | None
    ips: float
    seconds: float


class Listener:
    """Base of listeners; every method may be left as it is."""

    def run_started(self, trainer: Trainer) -> None:
        """Before the first step of this process."""

    def step_done(self, trainer: Trainer, record: StepRecord) -> None:
        """After every batch."""

    def step_left_out(self, trainer: Trainer, reason: str) -> None:
        """Instead of `step_done`, after a batch whose numbers were not finite and whose update is left out."""

    def epoch_done(self, trainer: Trainer, record: EpochRecord) -> None:
        """After an epoch and its evaluation."""

    def run_stopped(self, trainer: Trainer) -> None:
        """Before a signal ends the process, between two updates."""

    def run_ended(self, trainer: Trainer) -> None:
        """After the last epoch."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to go on; plain values."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave."""
