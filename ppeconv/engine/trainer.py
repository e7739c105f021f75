"""The training loop."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.optimizer import Optimizer

from ppeconv.data.batches import Batches
from ppeconv.engine import distributed, interrupt
from ppeconv.engine.average import WeightAverage
from ppeconv.engine.evaluator import Evaluation
from ppeconv.engine.finite import Statistics, gradients_are_finite, origin
from ppeconv.engine.listener import EpochRecord, Listener, StepRecord
from ppeconv.engine.meter import Meter
from ppeconv.engine.precision import Precision
from ppeconv.engine.step import Strategy
from ppeconv.errors import UserError


@dataclass
class Progress:
    """How far a run has come; what a checkpoint holds of it."""

    epoch: int = 0
    """Epochs finished."""
    batch: int = 0
    """Batches done of the epoch under way."""
    step: int = 0
    """Updates of the weights."""
    best_top1: float = -1.0
    best_epoch: int = 0
    evaluations_since_best: int = 0
    loss_sum: float = 0.0
    """Sums over the images of the epoch under way."""
    correct: int = 0
    images: int = 0
    seconds: float = 0.0
    """Spent on the epoch under way."""
    left_out: int = 0
    """Updates of the run that were left out, as their numbers were not finite."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Progress:
        """What a checkpoint holds; raises a ValueError or TypeError for what no training can have come to."""
        numbers = {name: type(getattr(cls, name))(value) for name, value in values.items()}
        if any(value < 0 for name, value in numbers.items() if name != "best_top1"):
            raise ValueError(f"progress is {numbers}")
        return cls(**numbers)


class Trainer:
    """Trains a network, epoch by epoch.

    Several processes may do so together, each with its share of every batch (`ppeconv.engine.distributed`).

    Args:
        model: the network; layers with `after_step()` have it called after every update.
        optimizer: over its parameters, with a `paddle.optimizer.lr.LRScheduler` that advances every update.
        strategy: how one batch becomes gradients; see `ppeconv.engine.step`.
        batches: training data.
        evaluate: called after an epoch for its Evaluation.
        epochs: length of the run.
        max_steps: ends the run earlier.
        eval_interval: epochs between evaluations.
        update_freq: batches per update.
        listeners: told of everything, in their order.
        after_step: called with the network after every update.
        average: a moving average of the weights, which is evaluated instead of them.
        early_stop: evaluations without a better top-1 after which the run ends.
        skip_nonfinite: updates of the run that may be left out because a loss or gradient is not finite; one more ends
            it.
        precision: mixed precision.
    """

    def __init__(
        self,
        model: nn.Layer,
        optimizer: Optimizer,
        strategy: Strategy,
        batches: Batches,
        evaluate: Callable[[], Evaluation],
        *,
        epochs: int,
        max_steps: int | None = None,
        eval_interval: int = 1,
        update_freq: int = 1,
        listeners: Sequence[Listener] = (),
        after_step: Sequence[Callable[[nn.Layer], None]] = (),
        average: WeightAverage | None = None,
        early_stop: int | None = None,
        skip_nonfinite: int = 0,
        precision: Precision | None = None,
    ):
        self.model, self.optimizer, self.strategy = model, optimizer, strategy
        self.batches, self.evaluate = batches, evaluate
        self.epochs, self.max_steps, self.eval_interval = epochs, max_steps, eval_interval
        self.update_freq, self.early_stop, self.skip_nonfinite = update_freq, early_stop, skip_nonfinite
        self.listeners, self.after_step, self.average = list(listeners), list(after_step), average
        self.precision = precision or Precision()
        self.progress = Progress()
        self.evaluation: Evaluation | None = None
        """The newest evaluation."""
        self.improved = False
        """Whether it was the best so far."""
        self._spoilt = False
        """Whether the update under way is left out."""
        self._layer_hooks = [
            layer.after_step for layer in model.sublayers(include_self=True) if hasattr(layer, "after_step")
        ]

    @property
    def schedule(self) -> Any:
        """The learning rate scheduler."""
        return self.optimizer._learning_rate

    @property
    def updates_per_epoch(self) -> int:
        """Updates of the weights in one epoch."""
        return -(-len(self.batches) // self.update_freq)

    @property
    def total_steps(self) -> int:
        """Updates in the whole run."""
        steps = self.epochs * self.updates_per_epoch
        return min(steps, self.max_steps) if self.max_steps else steps

    @property
    def between_updates(self) -> bool:
        """Whether no gradients are waiting for the rest of an update's batches."""
        return self.progress.batch % self.update_freq == 0

    @property
    def epoch_is_trained(self) -> bool:
        """Whether all batches of the epoch under way are done, and its evaluation is next."""
        return self.progress.batch == len(self.batches)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        progress, patience = self.progress, self.early_stop
        if self.epoch_is_trained:
            return False
        return progress.step >= self.total_steps or bool(patience and progress.evaluations_since_best >= patience)

    def fit(self) -> Progress:
        """Train until the run is finished.

        Raises:
            Stopped: a signal has ended it between two updates, and the listeners know.
        """
        self._tell("run_started")
        try:
            with interrupt.waiting():
                while not self.finished:
                    self._train_epoch()
                    self._close_epoch()
        except interrupt.Stopped:
            self._tell("run_stopped")
            raise
        self._tell("run_ended")
        return self.progress

    def state(self) -> dict[str, Any]:
        """What a resumed run needs besides weights and optimizer; plain values and arrays."""
        return {
            "progress": asdict(self.progress),
            "listeners": {type(listener).__name__: listener.state() for listener in self.listeners},
            "average": self.average.state() if self.average else {},
            "scaler": self.precision.scaler.state_dict() if self.precision.scaler else {},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave; a listener, average or scaler that is new begins anew."""
        self.progress = Progress.of(state["progress"])
        for listener in self.listeners:
            if own := state["listeners"].get(type(listener).__name__):
                listener.restore(own)
        if self.average and state["average"]:
            self.average.restore(state["average"])
        if self.precision.scaler and state["scaler"]:
            self.precision.scaler.load_state_dict(state["scaler"])

    def forget_best(self) -> None:
        """Begin anew to look for the best epoch, where the weights of the best so far are lost."""
        self.progress.best_top1, self.progress.best_epoch, self.progress.evaluations_since_best = -1.0, 0, 0

    def _train_epoch(self) -> None:
        """Run the epoch under way from where it stands to its end, or to the end of the run."""
        progress, meter = self.progress, Meter()
        self.model.train()
        last = progress.batch + (self.total_steps - progress.step) * self.update_freq
        for images, labels in self.batches.epoch(progress.epoch, progress.batch, last):
            reader_cost = meter.lap()
            lr = self.optimizer.get_lr()
            loss_sum, correct, count, asked = self._learn(images, labels)
            progress.loss_sum += loss_sum
            progress.correct += int(correct)
            progress.images += int(count)
            batch_cost = reader_cost + meter.lap()
            progress.seconds += batch_cost
            meter.add(batch_cost, reader_cost, int(count))
            left = (self.total_steps - progress.step) * self.update_freq
            if count:
                self._tell(
                    "step_done",
                    StepRecord(
                        progress.epoch + 1,
                        progress.batch,
                        progress.step,
                        lr,
                        loss_sum / count,
                        correct / count,
                        meter.batch_cost,
                        meter.reader_cost,
                        meter.ips,
                        left * meter.batch_cost,
                    ),
                )
            if asked and self.between_updates:
                raise interrupt.Stopped(interrupt.asked() or signal.SIGTERM)
            meter.lap()

    def _learn(self, images: Tensor, labels: Tensor) -> list[float]:
        """Take a batch and, where an update ends with it, update the weights.

        Returns:
            Sums over the images of all processes: of the loss, of right answers, of images, and the signal that asks
            to end, if any; no images where the batch is left out.
        """
        progress, kept = self.progress, Statistics(self.model) if self.skip_nonfinite else None
        loss, right = 0.0, 0
        if len(labels):  # else none of them could be read
            self._seed()
            mean, logits = self._gradients(images, labels)
            loss, right = float(mean), int((logits.argmax(1, keepdim=True) == labels).sum())
        sums = distributed.add_up([loss * len(labels), right, len(labels), interrupt.asked()]).tolist()
        progress.batch += 1
        due = self.between_updates or self.epoch_is_trained
        complaint = "" if math.isfinite(sums[0]) else f"the loss became {sums[0]}"
        if due and not complaint and not self._spoilt:
            distributed.combine(self.model)
            if not self.precision.scaler and not gradients_are_finite(self.model):
                complaint = "a gradient is not a finite number any more"
        if complaint:
            self._leave_out(complaint, images, labels, kept)
            sums[:3] = 0.0, 0.0, 0.0
        if due:
            self._update()
        return sums

    def _leave_out(self, complaint: str, images: Tensor, labels: Tensor, kept: Statistics | None) -> None:
        """Drop the update under way, or end the run where no more may be dropped."""

        def step() -> None:
            self._seed()
            with self.precision.cast():
                self.strategy(self.model, images, labels, lambda loss: None)

        progress = self.progress
        place = f"{complaint} in epoch {progress.epoch + 1}, step {progress.step + 1}"
        where = f"{place}{origin(self.model, images, step)}"
        if kept is None or progress.left_out == self.skip_nonfinite:
            earlier = f", after {progress.left_out} that were left out" if progress.left_out else ""
            raise UserError(f"{where}{earlier}, {self._advice()}; the checkpoints are from before it")
        kept.put_back()
        if not self._spoilt:
            self._spoilt, progress.left_out = True, progress.left_out + 1
            self._tell("step_left_out", where)

    def _seed(self) -> None:
        """Make what is drawn in a step, such as dropout, a function of it."""
        paddle.seed(self.batches.seed * 1_000_003 + self.progress.step)

    def _gradients(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        share = len(labels) / self.batches.images_in(self.progress.batch) / self.update_freq

        def backward(loss: Tensor) -> None:
            self.precision.scaled(loss * share if share < 1 else loss).backward()

        with self.precision.cast():
            return self.strategy(self.model, images, labels, backward)

    def _update(self) -> None:
        """The end of a step: new weights, unless the step is left out."""
        if not self._spoilt:
            self._change_weights()
        self._spoilt = False
        self.optimizer.clear_grad()
        self.schedule.step()
        self.progress.step += 1

    def _change_weights(self) -> None:
        self.precision.update(self.optimizer)
        for hook in self._layer_hooks:
            hook()
        for hook in self.after_step:
            hook(self.model)
        if self.average:
            self.average.update()

    def _close_epoch(self) -> None:
        """Evaluate, tell the listeners, and begin the count of the next epoch."""
        progress = self.progress
        number, complete = progress.epoch + 1, self.epoch_is_trained
        due = number % self.eval_interval == 0 or progress.step >= self.total_steps
        self.evaluation, self.improved = None, False
        if due:
            with self.average.applied() if self.average else nullcontext():
                self.evaluation = self.evaluate()
            if not math.isfinite(self.evaluation.loss):
                raise UserError(
                    f"the evaluation loss became {self.evaluation.loss} in epoch {number}, step {progress.step}, "
                    f"{self._advice()}"
                )
            self._note_best(number, self.evaluation.top1)
        record = self._epoch_record(number)
        if complete:
            progress.epoch, progress.batch = number, 0
            progress.loss_sum, progress.correct, progress.images, progress.seconds = 0.0, 0, 0, 0.0
        self._tell("epoch_done", record)

    def _note_best(self, epoch: int, top1: float) -> None:
        progress = self.progress
        self.improved = top1 > progress.best_top1
        progress.evaluations_since_best = 0 if self.improved else progress.evaluations_since_best + 1
        if self.improved:
            progress.best_top1, progress.best_epoch = top1, epoch

    def _epoch_record(self, epoch: int) -> EpochRecord:
        progress, evaluation = self.progress, self.evaluation
        if not progress.images:
            raise UserError(f"epoch {epoch} had no image to learn from: all its batches were left out")
        return EpochRecord(
            epoch,
            self.optimizer.get_lr(),
            progress.loss_sum / progress.images,
            progress.correct / progress.images,
            evaluation.loss if evaluation else None,
            evaluation.top1 if evaluation else None,
            evaluation.top5 if evaluation else None,
            progress.images / progress.seconds,
            progress.seconds,
        )

    def _advice(self) -> str:
        """What helps against numbers that are not finite."""
        return (
            f"at a learning rate of {self.optimizer.get_lr():g}; lower Optimizer.lr.learning_rate, add a warmup_epoch "
            "or set Optimizer.clip_norm"
        )

    def _tell(self, event: str, *arguments: Any) -> None:
        for listener in self.listeners:
            getattr(listener, event)(self, *arguments)
