"""One training run, from its config to its folder."""

from __future__ import annotations

import shlex

import paddle
from paddle import nn

from ppeconv.config import dump
from ppeconv.counting import count
from ppeconv.data.check import look_at
from ppeconv.data.transforms import sized
from ppeconv.engine import distributed
from ppeconv.engine.finetune import freeze
from ppeconv.engine.lock import Lock
from ppeconv.engine.log import log_to, logger
from ppeconv.engine.resume import bring_best, find_start, paddle_threads, resume
from ppeconv.engine.run import Run
from ppeconv.engine.setup import select_backend, select_device
from ppeconv.experiment.changed import changed_settings
from ppeconv.experiment.parts import Parts
from ppeconv.extras import installed, left_out
from ppeconv.observe import require_fit


def train(parts: Parts, run: Run) -> None:
    """Train what a config describes into the run folder.

    What can be wrong is found in this order, before anything is written: config, weights, data.
    """
    with run.lock() as lock:
        _train(parts, run, lock)


def _train(parts: Parts, run: Run, lock: Lock) -> None:
    config, settings = parts.config, parts.config.Global
    device = select_device(settings.device)
    distributed.join()
    notes = [f"network: {config.Arch.name}, {device}, {paddle_threads()} threads, Paddle {paddle.__version__}"]
    notes.append(f"layers: {select_backend(settings.cpu_backend, device)}")
    precision = parts.precision(device)
    notes.append(f"precision: {precision.name}")
    start = distributed.from_first(lambda: find_start(run, lock, settings.checkpoints, settings.overwrite))
    weights = parts.starting_weights()

    parts = (parts.with_classes_of(Run(start.prefix.parent)) if start else parts).filled()
    batches, eval_batches = parts.batches("train"), parts.batches("test")
    sides = batches, eval_batches
    skip = [side.skip_unreadable for side in sides]
    notes += distributed.from_first(lambda: look_at([side.dataset for side in sides], skip))
    notes += _batch_facts(parts) + _unused_size(parts)

    paddle.seed(settings.seed)
    model, begun = parts.started_model(weights, resumed=start is not None)
    require_fit(model, batches.image_shape)
    notes += [*begun, _counts(model, parts)]
    distributed.start_alike(model)
    notes += [freeze(model, config.Arch.freeze)] if config.Arch.freeze else []
    trainer = parts.trainer(run, model, batches, eval_batches, precision)
    if start:
        notes += [resume(trainer, start), *_changed(parts, Run(start.prefix.parent))]
    if trainer.finished and run.exists and start.is_in(run) and start.prefix.name == run.latest.name:
        log_to()
        logger.info(f"{run.path} is finished: {trainer.progress.epoch} epochs, {trainer.progress.step} steps")
        return

    distributed.from_first(lambda: run.open(dump(parts.config), lock, clear=start is None or not start.is_in(run)))
    if start and not distributed.from_first(lambda: bring_best(run, start)):
        trainer.forget_best()
    curves = shlex.quote(str(run.path / "vdl"))
    where = [f"curves: visualdl --logdir {curves} --language zh"] if parts.writes_visualdl else []
    for note in [*notes, *_without_extras(settings.use_visualdl), *where]:
        logger.info(note)
    trainer.fit()
    best = trainer.progress
    logger.info(
        f"best top1 {best.best_top1:.5f} in epoch {best.best_epoch}; {run.path} holds best_model.pdparams, results.csv"
        f"{' and curves.png' if installed('matplotlib') else ''}"
    )
    for note in where:
        logger.info(note)


def _changed(parts: Parts, before: Run) -> list[str]:
    """A warning where a run goes on with settings that it has not been trained with so far."""
    if not before.exists:
        return []
    changed = changed_settings(Parts.of_run(before).config, parts.config)
    return [f"warning: {changed}"] if changed else []


def _batch_facts(parts: Parts) -> list[str]:
    """How the images of an update come together, where that is not one batch of one process."""
    notes, config = [], parts.config
    if distributed.size() > 1:
        notes.append(
            f"processes: {distributed.size()}, each with batches of {config.DataLoader.Train.sampler.batch_size}; "
            "loss, top1 and ips are of all of them"
        )
    if base := config.Global.auto_scale_lr:
        notes.append(
            f"learning rates times {parts.lr_factor:g}: {parts.images_per_update} images per update, written for {base}"
        )
    return notes


def _unused_size(parts: Parts) -> list[str]:
    """A warning where no transform takes the size of the images from the key that sets it."""
    data = parts.config.DataLoader
    size, sides = data.image_size, [side.dataset.transform_ops for side in (data.Train, data.Eval)]
    if size is None or any(sized(operations, size) != sized(operations, size + 1) for operations in sides):
        return []
    return [f"warning: DataLoader.image_size {size} changes nothing, as no transform leaves its size open"]


def _without_extras(use_visualdl: bool) -> list[str]:
    """What a light install neither draws nor logs, where that is something."""
    visualdl = {"visualdl": "nothing is logged for VisualDL"} if use_visualdl else {}
    return left_out({"matplotlib": "curves.png is not drawn", **visualdl}, "train")


def _counts(model: nn.Layer, parts: Parts) -> str:
    shape = parts.config.Infer.image_shape
    counts = count(model, [1, *shape])
    return f"{counts.params:,} trainable parameters, {counts.macs:,} MACs at {shape}"
