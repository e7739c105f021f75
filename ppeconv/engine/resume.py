"""Checkpoints of a run under way, and going on from one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppeconv import backend
from ppeconv.engine import checkpoint, distributed
from ppeconv.engine.listener import EpochRecord, Listener, StepRecord
from ppeconv.engine.run import Run
from ppeconv.engine.trainer import Trainer
from ppeconv.errors import UserError


class Checkpoints(Listener):
    """Saves `latest` after every epoch and every `steps` steps, `best_model`, and `epoch_N` every `epochs` epochs.

    It must be the last of the listeners, so that it saves what the others have done.
    """

    def __init__(self, run: Run, epochs: int | None, steps: int | None):
        self.run, self.epochs, self.steps = run, epochs, steps

    def step_done(self, trainer: Trainer, record: StepRecord) -> None:
        mid_epoch = trainer.progress.batch < len(trainer.batches)
        if self.steps and mid_epoch and trainer.between_updates and record.step % self.steps == 0:
            self._save(trainer, self.run.latest)

    def epoch_done(self, trainer: Trainer, record: EpochRecord) -> None:
        if trainer.improved:
            weights = trainer.average.values if trainer.average else trainer.model.state_dict()
            checkpoint.save(self.run.best, {".pdparams": _arrays(weights)})
        self._save(trainer, self.run.latest)
        if self.epochs and record.epoch % self.epochs == 0:
            self._save(trainer, self.run.path / f"epoch_{record.epoch}")

    def _save(self, trainer: Trainer, prefix: Path) -> None:
        keep = self.run.previous if prefix == self.run.latest else None
        checkpoint.save(
            prefix,
            {
                ".pdparams": _arrays(trainer.model.state_dict()),
                ".pdopt": _renamed(_arrays(trainer.optimizer.state_dict()), _names(trainer.model)),
                ".pdstates": {
                    **trainer.state(),
                    "arithmetic": _arithmetic(),
                    "global_batch_size": trainer.batches.global_batch_size,
                },
            },
            keep,
        )


def find_checkpoint(target: str, run: Run) -> Path | None:
    """The intact checkpoint that `Global.checkpoints` means; None where "auto" finds nothing to go on from."""
    if target == "auto" and not run.exists:
        return None
    folder = run if target == "auto" else Run(target)
    if folder.path.is_dir():
        candidates = [folder.latest, folder.previous]
    else:
        path = Path(target)
        candidates = [path.with_suffix("") if path.suffix in (".pdparams", ".pdopt", ".pdstates") else path]
    problems = [checkpoint.problem(candidate) for candidate in candidates]
    for candidate, problem in zip(candidates, problems, strict=True):
        if problem is None:
            return candidate
    if target == "auto" and not any(
        candidate.with_name(candidate.name + ".pdparams").exists() for candidate in candidates
    ):
        return None
    raise UserError(f"there is no checkpoint to resume from: {'; '.join(problems)}")


def resume(trainer: Trainer, prefix: Path) -> str:
    """Put a trainer into the state of a checkpoint; returns where it stands, as a sentence."""
    suffixes = (".pdparams", ".pdopt", ".pdstates")
    weights, optimizer, states = distributed.from_first(
        lambda: [checkpoint.read(prefix.with_name(prefix.name + suffix)) for suffix in suffixes]
    )
    own = trainer.model.state_dict()
    if {name: list(value.shape) for name, value in own.items()} != {
        name: list(value.shape) for name, value in weights.items()
    }:
        raise UserError(
            f"the checkpoint {prefix} is of another network than this config's; to start from its weights "
            "alone use Global.pretrained_model"
        )
    trainer.model.set_state_dict(weights)
    names = {new: old for old, new in _names(trainer.model).items()}
    trainer.optimizer.set_state_dict(_tensors(_renamed(optimizer, names)))
    trainer.restore(states)
    progress = trainer.progress
    _recount(trainer, states.get("global_batch_size", trainer.batches.global_batch_size))
    trainer.schedule.step(progress.step)  # the rate of this config, should it differ from the run's
    return (
        f"resumed from {prefix}: epoch {progress.epoch}, batch {progress.batch}, step {progress.step}, lr "
        f"{trainer.optimizer.get_lr():g}, best top1 {progress.best_top1:.5f} in epoch {progress.best_epoch}"
        f"{_change(states.get('arithmetic', {}))}"
    )


def _recount(trainer: Trainer, batch_size: int) -> None:
    """Progress in this config's batches and updates, where the checkpoint counts batches of another size.

    Rounded down: less than an update's images of the epoch under way are seen twice.
    """
    progress, update_freq = trainer.progress, trainer.update_freq
    updates = progress.batch * batch_size // trainer.batches.global_batch_size // update_freq
    progress.batch = updates * update_freq
    progress.step = progress.epoch * trainer.updates_per_epoch + updates


def paddle_threads() -> int:
    """Threads of Paddle's CPU kernels; the last bits of a result depend on it."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def _arithmetic() -> dict[str, Any]:
    """What the last bits of a result depend on besides config and data."""
    return {"threads": paddle_threads(), "layers": "onednn" if backend.is_enabled() else "paddle"}


def _change(before: dict[str, Any]) -> str:
    """How a resumed run computes differently from its beginning, as the end of a sentence."""
    changes = [
        f"{key} {before[key]} before, {now} now" for key, now in _arithmetic().items() if before.get(key, now) != now
    ]
    return f"; equal to an unbroken run but for rounding ({'; '.join(changes)})" if changes else ""


def _names(model: nn.Layer) -> dict[str, str]:
    """Paddle's running parameter names -> the network's own, which do not depend on what was built before."""
    return {parameter.name: name for name, parameter in model.named_parameters()}


def _renamed(states: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Optimizer states are called `<parameter>_<what>`; the parameter part is translated."""
    renamed = {}
    for key, value in states.items():
        owner = max((name for name in names if key.startswith(f"{name}_")), key=len, default="")
        renamed[names.get(owner, "") + key.removeprefix(owner)] = value
    return renamed


def _arrays(value: Any) -> Any:
    if isinstance(value, paddle.Tensor):
        return value.numpy()
    return {key: _arrays(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def _tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return paddle.to_tensor(value)
    return {key: _tensors(inner) for key, inner in value.items()} if isinstance(value, dict) else value
