"""Checkpoints of a run under way, and going on from one."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle
from paddle import nn

from ppeconv import backend
from ppeconv.data.datasets import DataSet
from ppeconv.engine import checkpoint, distributed
from ppeconv.engine.listener import EpochRecord, Listener, StepRecord
from ppeconv.engine.lock import Lock
from ppeconv.engine.precision import Precision
from ppeconv.engine.run import Run
from ppeconv.engine.trainer import Trainer
from ppeconv.errors import UserError, first_line

_SUFFIXES = (".pdparams", ".pdopt", ".pdstates")
_OF_ALL = {"LR_Scheduler", "master_weights"}
"""Optimizer states that are of no single parameter."""


class Checkpoints(Listener):
    """Saves `latest` every `steps` steps and around evaluations, `best_model`, and `epoch_N` every `epochs` epochs.

    It must be the last of the listeners, so that it saves what the others have done.
    """

    def __init__(self, run: Run, epochs: int | None, steps: int | None):
        self.run, self.epochs, self.steps = run, epochs, steps
        self.computed_by: list[dict[str, Any]] = []
        """What computed the run so far, in order: an entry each time that something of it changed."""
        self.data: dict[str, Any] = {}
        """By which its training images are told from others; known from the start of the run on."""

    def state(self) -> dict[str, list]:
        return {"computed_by": self.computed_by}

    def restore(self, state: dict[str, list]) -> None:
        self.computed_by = [dict(entry) for entry in state["computed_by"]]

    def run_started(self, trainer: Trainer) -> None:
        """Save where the run begins, unless `latest` is that: a run has one from its first moment."""
        self.data = _data_facts(trainer.batches.dataset)
        computed_by = arithmetic(trainer.precision)
        if not self.computed_by or _changes(self.computed_by[-1], computed_by):
            self.computed_by.append(computed_by)
        intact = checkpoint.problem(self.run.latest) is None
        if not intact or _states(self.run.latest)["progress"] != asdict(trainer.progress):
            self._save(trainer, self.run.latest, keep=self.run.previous if intact else None)

    def step_done(self, trainer: Trainer, record: StepRecord) -> None:
        due = self.steps and trainer.between_updates and record.step % self.steps == 0
        if due or trainer.epoch_is_trained:  # an evaluation may take long
            self._save(trainer, self.run.latest, keep=self.run.previous)

    def epoch_done(self, trainer: Trainer, record: EpochRecord) -> None:
        """Save `latest` last: what a crash before that has cost is done again."""
        if trainer.improved:
            weights = trainer.average.values if trainer.average else trainer.model.state_dict()
            checkpoint.save(self.run.best, {".pdparams": _arrays(weights)})
        whole = trainer.progress.batch == 0
        if self.epochs and whole and record.epoch % self.epochs == 0:
            self._save(trainer, self.run.path / f"epoch_{record.epoch}")
        self._save(trainer, self.run.latest, keep=self.run.previous)

    def run_stopped(self, trainer: Trainer) -> None:
        self._save(trainer, self.run.latest, keep=self.run.previous)

    def _save(self, trainer: Trainer, prefix: Path, keep: Path | None = None) -> None:
        weights = _arrays(trainer.model.state_dict())
        broken = [name for name, _ in trainer.model.named_parameters() if not np.isfinite(weights[name]).all()]
        if broken:
            progress = trainer.progress
            raise UserError(
                f"{broken[0]} is no longer finite after epoch {progress.epoch}, batch {progress.batch}, step "
                f"{progress.step}, and is not saved; go on from the checkpoint before it with a lower learning rate"
            )
        checkpoint.save(
            prefix,
            {
                ".pdparams": weights,
                ".pdopt": _renamed(_arrays(trainer.optimizer.state_dict()), _names(trainer.model)),
                ".pdstates": {
                    **trainer.state(),
                    "arithmetic": arithmetic(trainer.precision),
                    "data": self.data,
                    "global_batch_size": trainer.batches.global_batch_size,
                },
            },
            keep,
        )


class Start(NamedTuple):
    """The checkpoint that a run goes on from."""

    prefix: Path
    passed_over: list[str]
    """What is wrong with newer ones."""

    def is_in(self, run: Run) -> bool:
        """Whether it is one of that run's own."""
        return self.prefix.parent.resolve() == run.path.resolve()

    def __str__(self) -> str:
        """Which one it is, and why not a newer one."""
        return f"{self.prefix}" + (f" (not from a newer one: {'; '.join(self.passed_over)})" * bool(self.passed_over))


def find_checkpoint(target: str, run: Run) -> Start | None:
    """The newest intact checkpoint that `Global.checkpoints` means; None where "auto" finds none of any kind."""
    path = run.path if target == "auto" else Path(target)
    if target == "auto" or path.is_dir():
        _settle(Run(path), run)
        candidates = _newest_first(Run(path))
    else:
        _settle(Run(path.parent), run)
        candidates = [path.with_suffix("") if path.suffix in _SUFFIXES else path]
    passed_over: list[str] = []
    for candidate in candidates:
        problem = checkpoint.problem(candidate) or _lack(candidate)
        if problem is None:
            return Start(candidate, passed_over)
        passed_over.append(problem)
    if target == "auto" and not passed_over:
        return None
    raise UserError(f"there is no checkpoint to resume from: {'; '.join(passed_over) or f'{target} holds none'}")


def _lack(prefix: Path) -> str | None:
    """Why training cannot go on from an intact checkpoint, such as `best_model`."""
    if all(_file(prefix, suffix).is_file() for suffix in _SUFFIXES):
        return None
    return f"{prefix} holds weights alone; a new training starts from them with Global.pretrained_model"


def find_start(run: Run, lock: Lock, target: str | None, overwrite: bool) -> Start | None:
    """The checkpoint to go on from, or None for a fresh run; nothing of an earlier run or of the user's is in its way.

    Args:
        run, lock: where it is to be trained.
        target: `Global.checkpoints`, see `find_checkpoint`.
        overwrite: whether what an earlier run wrote there may go.

    Raises:
        UserError: another training is under way in the folder, a checkpoint is missing or damaged, or the folder holds
            what the run would overwrite.
    """
    if run.path.is_dir():
        lock.take()
    run.require_names()
    start = find_checkpoint(target, run) if target else None
    if overwrite or run.is_new or (start is not None and start.is_in(run)):
        return start
    if not run.exists:
        raise UserError(
            f"{run.path} is not empty and holds no run, as it has no config.yaml; "
            + ("go on from its checkpoints with -o Global.checkpoints=auto, " if run.checkpoints() else "")
            + "delete what an earlier run may have written there, and nothing else, with -o Global.overwrite=true, "
            + "or write elsewhere with -o Global.output_dir=DIR"
        )
    if target != "auto":
        raise UserError(run.held())
    if run.checkpoints():
        raise UserError(
            f"{run.path} holds best weights but no checkpoint to go on from; start from them in another folder "
            f"with -o Global.pretrained_model={run.best} Global.output_dir=DIR, or anew with -o Global.overwrite=true"
        )
    return start


def bring_best(run: Run, start: Start) -> bool:
    """Whether the best weights up to a checkpoint are in the run folder; those of another run are copied there."""
    there = Run(start.prefix.parent)
    if not start.is_in(run) and start.prefix == there.latest and checkpoint.problem(there.best) is None:
        checkpoint.save(run.best, {".pdparams": checkpoint.read(_file(there.best, ".pdparams"))})
    return _file(run.best, ".pdparams").is_file()


def _settle(folder: Run, own: Run) -> None:
    """Finish what a crash cut short; in another run's folder only where nobody trains and writing is allowed."""
    unfinished = folder.unfinished()
    with contextlib.suppress(UserError), folder.lock() as lock:
        if unfinished and folder.path.resolve() != own.path.resolve():
            lock.take()
        for prefix in unfinished:
            checkpoint.finish(prefix)


def _newest_first(folder: Run) -> list[Path]:
    """Prefixes from which training can go on, in the order in which they are to be tried."""
    prefixes = [prefix for prefix in folder.checkpoints() if prefix != folder.best]
    return sorted(prefixes, key=lambda prefix: (_place(prefix), prefix == folder.latest), reverse=True)


def _place(prefix: Path) -> tuple[float, int]:
    """(epochs, batches) after which it was saved; a `latest` that cannot be read is taken for the newest."""
    if prefix.name.startswith("epoch_"):
        return int(prefix.name.removeprefix("epoch_")), 0
    try:
        progress = _states(prefix)["progress"]
        return int(progress["epoch"]), int(progress["batch"])
    except (UserError, LookupError, TypeError, ValueError, OverflowError):
        return (math.inf if prefix.name == "latest" else -1), 0


def _states(prefix: Path) -> dict[str, Any]:
    return checkpoint.read(_file(prefix, ".pdstates"))


def _file(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)


def resume(trainer: Trainer, start: Start) -> str:
    """Put a trainer into the state of a checkpoint; returns where it stands, as a sentence."""
    weights, optimizer, states = distributed.from_first(
        lambda: [checkpoint.read(_file(start.prefix, suffix)) for suffix in _SUFFIXES]
    )
    try:
        _restore(trainer, start, weights, optimizer, states)
        change = _change(states.get("arithmetic", {}), states.get("data", {}), trainer)
    except UserError:
        raise
    except Exception as error:  # Paddle has its own kinds for a state that is none
        raise UserError(
            f"the checkpoint {start.prefix} holds no state of a training ({type(error).__name__}: {first_line(error)})"
        ) from None
    progress = trainer.progress
    return (
        f"resumed from {start}: epoch {progress.epoch}, batch {progress.batch}, step {progress.step}, lr "
        f"{trainer.optimizer.get_lr():g}, best top1 {progress.best_top1:.5f} in epoch {progress.best_epoch}"
        f"{change}"
    )


def _restore(trainer: Trainer, start: Start, weights: Any, optimizer: Any, states: Any) -> None:
    """Take up what the three files of a checkpoint hold; of files that others made it may be anything."""
    own = trainer.model.state_dict()
    if {name: list(value.shape) for name, value in own.items()} != {
        name: list(value.shape) for name, value in weights.items()
    }:
        raise UserError(
            f"the checkpoint {start.prefix} is of another network than this config's; to start from its weights "
            "alone use Global.pretrained_model"
        )
    trainer.model.set_state_dict(weights)
    names = {new: old for old, new in _names(trainer.model).items()}
    _require_kinds(optimizer, names)
    trainer.optimizer.set_state_dict(_tensors(_renamed(optimizer, names)))
    trainer.restore(states)
    _recount(trainer, int(states.get("global_batch_size", trainer.batches.global_batch_size)))
    trainer.schedule.step(trainer.progress.step)  # the rate of this config, should it differ from the run's


def _recount(trainer: Trainer, batch_size: int) -> None:
    """Progress in this config's batches and updates, where the checkpoint counts batches of another size.

    Rounded down: less than an update's images of the epoch under way are seen twice.
    """
    progress, update_freq = trainer.progress, trainer.update_freq
    updates = progress.batch * batch_size // trainer.batches.global_batch_size // update_freq
    updates = min(updates, trainer.updates_per_epoch)  # the last batch of an epoch may have been a small one
    progress.batch = min(updates * update_freq, len(trainer.batches))
    progress.step = progress.epoch * trainer.updates_per_epoch + updates


def paddle_threads() -> int:
    """Threads of Paddle's CPU kernels; the last bits of a result depend on it."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def arithmetic(precision: Precision) -> dict[str, Any]:
    """What the last bits of a result depend on besides config and data."""
    layers = "onednn" if backend.is_enabled() else "paddle"
    return {
        "threads": paddle_threads(),
        "layers": layers,
        "precision": precision.name,
        "cpu": backend.cpu_name(),
        "paddle": paddle.__version__,
        "processes": distributed.size(),
    }


def _data_facts(dataset: DataSet) -> dict[str, Any]:
    """By which training images are told from others without reading them: labels and names of files in their order."""
    names = "\n".join(path.name for path in getattr(dataset, "paths", ()))
    content = np.ascontiguousarray(dataset.labels, np.int64).tobytes() + os.fsencode(names)
    return {"images": len(dataset), "sha256": hashlib.sha256(content).hexdigest()}


def _change(computed: dict[str, Any], data: dict[str, Any], trainer: Trainer) -> str:
    """How a resumed run goes on differently from its beginning, as the end of a sentence."""
    dataset = trainer.batches.dataset
    if _changes(data, _data_facts(dataset)):
        return (
            f"; not equal to an unbroken run, as its training images are others now ({data['images']:,} before, "
            f"{len(dataset):,} now)"
        )
    changes = _changes(computed, arithmetic(trainer.precision))
    return f"; equal to an unbroken run but for rounding ({'; '.join(changes)})" if changes else ""


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What is another thing now; what was not noted before is taken for the same."""
    return [f"{key} {before[key]} before, {value} now" for key, value in now.items() if before.get(key, value) != value]


def _names(model: nn.Layer) -> dict[str, str]:
    """Paddle's running parameter names -> the network's own, which do not depend on what was built before."""
    return {parameter.name: name for name, parameter in model.named_parameters()}


def _renamed(states: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Optimizer states are called `<parameter>_<what>`; the parameter part is translated."""
    renamed = {}
    for key, value in states.items():
        owner = _owner(key, names)
        renamed[names.get(owner, "") + key.removeprefix(owner)] = value
    return renamed


def _require_kinds(states: dict[str, Any], names: Iterable[str]) -> None:
    """Raise a ValueError where optimizer states are not of these parameters, and of the same kinds for each of them."""
    kinds: dict[str, set[str]] = {}
    for key in states.keys() - _OF_ALL:
        owner = _owner(key, names)
        kinds.setdefault(owner, set()).add(key.removeprefix(owner))
    if "" in kinds or len(set(map(frozenset, kinds.values()))) > 1:
        raise ValueError(f"its optimizer has {', '.join(sorted(map(str, states))[:4])}")


def _owner(key: str, names: Iterable[str]) -> str:
    """The parameter that an optimizer state is of; "" where it is of none."""
    return max((name for name in names if key.startswith(f"{name}_")), key=len, default="")


def _arrays(value: Any) -> Any:
    if isinstance(value, paddle.Tensor):
        return value.numpy()
    return {key: _arrays(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def _tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return paddle.to_tensor(value)
    return {key: _tensors(inner) for key, inner in value.items()} if isinstance(value, dict) else value
