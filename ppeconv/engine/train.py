"""One training run, from its config to its folder."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppeconv import config as configs
from ppeconv.config import Config
from ppeconv.counting import count
from ppeconv.data.batches import Batches
from ppeconv.data.check import look_at
from ppeconv.data.datasets import ArraySet, FileSet
from ppeconv.engine import distributed
from ppeconv.engine.average import WeightAverage
from ppeconv.engine.evaluator import Evaluation, evaluate
from ppeconv.engine.files import write_whole
from ppeconv.engine.finetune import freeze, starting_weights
from ppeconv.engine.fit import require_fit
from ppeconv.engine.listener import Listener
from ppeconv.engine.lock import Lock
from ppeconv.engine.log import LogLines, ProgressBar, log_to, logger
from ppeconv.engine.losses import CombinedLoss
from ppeconv.engine.mixing import Mixed
from ppeconv.engine.progress import shows_bars
from ppeconv.engine.results import Results
from ppeconv.engine.resume import Checkpoints, Start, bring_best, find_checkpoint, paddle_threads, resume
from ppeconv.engine.run import Run, with_classes_of
from ppeconv.engine.setup import (
    build_model,
    build_optimizer,
    images_per_update,
    lr_factor,
    make_batches,
    select_backend,
    select_device,
    with_data_facts,
)
from ppeconv.engine.step import Supervised
from ppeconv.engine.trainer import Precision, Strategy, Trainer
from ppeconv.engine.weights import load_weights
from ppeconv.engine.widths import AnyWidthStep, calibrate_for
from ppeconv.errors import UserError
from ppeconv.extras import installed, left_out


def train(config: Config, run: Run) -> Run:
    """Train what the config describes into the run folder; returns the run.

    What can be wrong is found in this order, before anything is written: config, weights, data.
    """
    with run.lock() as lock:
        return _train(config, run, lock)


def _train(config: Config, run: Run, lock: Lock) -> Run:
    device = select_device(config.Global.device)
    distributed.join()
    notes = [f"network: {config.Arch.name}, {device}, {paddle_threads()} threads, Paddle {paddle.__version__}"]
    notes.append(f"layers: {select_backend(config, device)}")
    precision = make_precision(config, device)
    start, weights = distributed.from_first(lambda: find_start(config, run, lock)), starting_weights(config)

    config = with_data_facts(with_classes_of(Run(start.prefix.parent), config) if start else config)
    batches, eval_batches = make_batches(config, "train"), make_batches(config, "test")
    notes += distributed.from_first(lambda: look_at([batches.dataset, eval_batches.dataset]))
    notes += batch_facts(config)

    paddle.seed(config.Global.seed)
    model, reports = build_model(config)
    require_fit(model, batches.image_shape)
    notes += [*map(str, reports), _counts(model, config)]
    notes += [load_weights(model, weights)] if weights else []
    distributed.start_alike(model)
    notes += [freeze(model, config.Arch.freeze)] if config.Arch.freeze else []
    trainer = make_trainer(config, run, model, batches, eval_batches, precision)
    notes += [resume(trainer, start)] if start else []
    if trainer.finished and run.exists and start.is_in(run) and start.prefix.name == run.latest.name:
        log_to()
        logger.info(f"{run.path} is finished: {trainer.progress.epoch} epochs, {trainer.progress.step} steps")
        return run

    distributed.from_first(lambda: open_folder(run, config, lock, clear=start is None or not start.is_in(run)))
    if start and not distributed.from_first(lambda: bring_best(run, start)):
        trainer.forget_best()
    for note in [*notes, *without_extras(config), *where(config, run)]:
        logger.info(note)
    trainer.fit()
    best = trainer.progress
    logger.info(
        f"best top1 {best.best_top1:.5f} in epoch {best.best_epoch}; {run.path} holds best_model.pdparams, results.csv"
        f"{' and curves.png' if installed('matplotlib') else ''}"
    )
    for note in where(config, run):
        logger.info(note)
    return run


def make_trainer(
    config: Config, run: Run, model: nn.Layer, batches: Batches, eval_batches: Batches, precision: Precision
) -> Trainer:
    """The trainer of a config, with everything that listens to it."""
    steps_per_epoch = -(-len(batches) // config.Global.update_freq)
    strategy = make_strategy(config)
    strategy.loss.require_fit(config.Infer.class_names, batches.image_shape)
    eval_loss = CombinedLoss(config.Loss.Eval).require_fit(config.Infer.class_names, eval_batches.image_shape)

    def evaluation() -> Evaluation:
        calibrate_for(model, config, [1.0], batches)
        head = f"[Eval][Epoch {trainer.progress.epoch + 1}]"
        return evaluate(model, eval_batches, eval_loss, topk(config), config.Arch.class_num, head)

    trainer = Trainer(
        model,
        build_optimizer(config, model, steps_per_epoch),
        strategy,
        batches,
        evaluation,
        epochs=config.Global.epochs,
        max_steps=config.Global.max_steps,
        eval_interval=config.Global.eval_interval,
        update_freq=config.Global.update_freq,
        average=WeightAverage(model, config.Global.ema) if config.Global.ema else None,
        early_stop=config.Global.early_stop,
        precision=precision,
        listeners=make_listeners(config, run, eval_batches) if distributed.is_first() else [],
    )
    return trainer


def find_start(config: Config, run: Run, lock: Lock) -> Start | None:
    """The checkpoint to go on from, or None for a fresh run; nothing of an earlier run or of the user's is in its way.

    Raises:
        UserError: another training is under way in the folder, a checkpoint is missing or damaged, or the folder holds
            what the run would overwrite.
    """
    if run.path.is_dir():
        lock.take()
    target = config.Global.checkpoints
    run.require_names()
    start = find_checkpoint(target, run) if target else None
    if config.Global.overwrite or run.is_new or (start is not None and start.is_in(run)):
        return start
    elsewhere = "or write elsewhere with -o Global.output_dir=DIR"
    if not run.exists:
        raise UserError(
            f"{run.path} is not empty and holds no run, as it has no config.yaml; "
            + ("go on from its checkpoints with -o Global.checkpoints=auto, " if run.checkpoints() else "")
            + "delete what an earlier run may have written there, and nothing else, with -o Global.overwrite=true, "
            + elsewhere
        )
    if target != "auto":
        raise UserError(
            f"{run.path} already holds a run; resume it with -o Global.checkpoints=auto, start anew with "
            f"-o Global.overwrite=true, {elsewhere}"
        )
    if run.checkpoints():
        raise UserError(
            f"{run.path} holds best weights but no checkpoint to go on from; start from them in another folder "
            f"with -o Global.pretrained_model={run.best} Global.output_dir=DIR, or anew with -o Global.overwrite=true"
        )
    return start


def make_strategy(config: Config) -> Strategy:
    """How a batch becomes gradients: plain, on mixtures of images, or at several widths."""
    loss, mixtures = CombinedLoss(config.Loss.Train), config.DataLoader.Train.dataset.batch_transform_ops
    if config.AnyWidth:
        if mixtures:
            raise UserError("AnyWidth trains on plain images; leave batch_transform_ops out")
        return AnyWidthStep(loss, config.AnyWidth)
    return Mixed(loss, mixtures) if mixtures else Supervised(loss)


def make_precision(config: Config, device: str) -> Precision:
    """Mixed precision as the config asks for it."""
    if not config.AMP.use_amp:
        return Precision()
    if device == "cpu":
        raise UserError("AMP.use_amp needs a GPU: Paddle's CPU kernels train in float32 only; set AMP.use_amp to false")
    scaler = paddle.amp.GradScaler(
        init_loss_scaling=config.AMP.scale_loss, use_dynamic_loss_scaling=config.AMP.use_dynamic_loss_scaling
    )
    return Precision(config.AMP.level, scaler)


def make_listeners(config: Config, run: Run, eval_batches: Batches) -> list[Listener]:
    """All that listens to a run; the checkpoints last."""
    listeners: list[Listener] = [
        LogLines(config.Global.print_batch_step, config.Optimizer.lr.name),
        Results(run.path / "results.csv"),
    ]
    if shows_bars():
        listeners.append(ProgressBar())
    if _writes_visualdl(config):
        from ppeconv.engine.visualdl import VisualDL

        listeners.append(VisualDL(run.path / "vdl", hparams(config), samples(config, eval_batches.dataset), every=10))
    return [*listeners, Checkpoints(run, config.Global.save_interval, config.Global.save_step_interval)]


def samples(config: Config, dataset: ArraySet | FileSet, count: int = 8) -> dict[str, np.ndarray]:
    """Images [H, W, C] spread evenly over a data set, by number and class."""
    numbers = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)
    names = [config.Infer.class_names[dataset.labels[number]] for number in numbers]
    return {
        f"{number} {name}": image for number, name, image in zip(numbers, names, dataset.read(numbers), strict=True)
    }


def open_folder(run: Run, config: Config, lock: Lock, clear: bool) -> None:
    """Make the run folder, locked and cleared of an older run, write the config into it and start the log."""
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        lock.take()
        if clear:
            run.clear()
        write_whole(run.path / "config.yaml", configs.dump(config).encode())
        log_to(run.path / "train.log")
    except OSError as error:
        raise UserError(f"cannot write the run folder {run.path}: {error.strerror}") from None


def batch_facts(config: Config) -> list[str]:
    """How the images of an update come together, where that is not one batch of one process."""
    notes, batch_size = [], config.DataLoader.Train.sampler.batch_size
    if distributed.size() > 1:
        notes.append(
            f"processes: {distributed.size()}, each with batches of {batch_size}; loss, top1 and ips are of all of them"
        )
    if config.Global.auto_scale_lr:
        notes.append(
            f"learning rates times {lr_factor(config):g}: {images_per_update(config)} images per update, written for "
            f"{config.Global.auto_scale_lr}"
        )
    return notes


def topk(config: Config) -> list[int]:
    """The k of the top-k accuracies, at most the number of classes."""
    return sorted({min(k, config.Arch.class_num) for k in config.Metric.topk} | {1})


def hparams(config: Config) -> dict[str, Any]:
    """Settings that tell runs apart."""
    operators = "+".join(f"{section.name}{section.arguments or ''}" for section in config.operators)
    section = config.AnyWidth
    return {
        "arch": config.Arch.name,
        "operator": operators or "none",
        "anywidth": f"{section.kind}, {section.sampling}" if section else "none",
        "optimizer": config.Optimizer.name,
        "learning_rate": str(config.Optimizer.lr.arguments.get("learning_rate", "")),
        "batch_size": config.DataLoader.Train.sampler.batch_size,
        "epochs": config.Global.epochs,
        "seed": config.Global.seed,
    }


def where(config: Config, run: Run) -> list[str]:
    """How to see the curves, where there are some."""
    return [f"curves: visualdl --logdir {run.path / 'vdl'} --language zh"] if _writes_visualdl(config) else []


def without_extras(config: Config) -> list[str]:
    """What a light install neither draws nor logs, where that is something."""
    uses = {"matplotlib": "curves.png is not drawn", "visualdl": "nothing is logged for VisualDL"}
    if not config.Global.use_visualdl:
        del uses["visualdl"]
    return left_out(uses, "train")


def _writes_visualdl(config: Config) -> bool:
    return config.Global.use_visualdl and installed("visualdl")


def _counts(model: Any, config: Config) -> str:
    counts = count(model, [1, *config.Infer.image_shape])
    return f"{counts.params:,} trainable parameters, {counts.macs:,} MACs at {config.Infer.image_shape}"
