"""One training run, from its config to its folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import paddle

from ppeconv import config as configs
from ppeconv.config import Config
from ppeconv.counting import count
from ppeconv.data.check import check_files, describe, imbalance
from ppeconv.engine import checkpoint
from ppeconv.engine.average import WeightAverage
from ppeconv.engine.evaluator import evaluate
from ppeconv.engine.finetune import freeze, starting_weights
from ppeconv.engine.log import LogLines, ProgressBar, log_to, logger
from ppeconv.engine.losses import CombinedLoss
from ppeconv.engine.mixing import Mixed
from ppeconv.engine.results import Results
from ppeconv.engine.resume import Checkpoints, find_checkpoint, paddle_threads, resume
from ppeconv.engine.run import Run
from ppeconv.engine.setup import (
    build_model,
    build_optimizer,
    load_weights,
    make_batches,
    select_backend,
    select_device,
    with_data_facts,
)
from ppeconv.engine.step import Supervised
from ppeconv.engine.trainer import Precision, Strategy, Trainer
from ppeconv.errors import UserError


def train(config: Config, run: Run) -> Run:
    """Train what the config describes into the run folder; returns the run."""
    device = select_device(config.Global.device)
    layers = select_backend(config, device)
    precision = make_precision(config, device)
    start = find_start(config, run)
    weights = starting_weights(config)
    if weights:
        checkpoint.read_weights(weights)
    config = with_data_facts(config)
    batches, eval_batches = make_batches(config, "train"), make_batches(config, "test")
    looked_at = check_files([batches.dataset, eval_batches.dataset])

    paddle.seed(config.Global.seed)
    model, reports = build_model(config)
    loading = load_weights(model, weights) if weights else ""
    frozen = freeze(model, config.Arch.freeze)
    steps_per_epoch = -(-len(batches) // config.Global.update_freq)
    optimizer = build_optimizer(config, model, steps_per_epoch)
    eval_loss = CombinedLoss(config.Loss.Eval)
    average = WeightAverage(model, config.Global.ema) if config.Global.ema else None
    trainer = Trainer(
        model,
        optimizer,
        make_strategy(config),
        batches,
        lambda: evaluate(model, eval_batches, eval_loss, topk(config), config.Arch.class_num),
        epochs=config.Global.epochs,
        max_steps=config.Global.max_steps,
        eval_interval=config.Global.eval_interval,
        update_freq=config.Global.update_freq,
        average=average,
        early_stop=config.Global.early_stop,
        precision=precision,
        listeners=make_listeners(config, run, eval_batches),
    )
    if start:
        resume(trainer, start)
        if trainer.finished:
            log_to()
            logger.info(f"{run.path} is finished: {trainer.progress.epoch} epochs, {trainer.progress.step} steps")
            return run

    if not start:
        run.clear()
    open_folder(run, config)
    for line in (
        f"network: {config.Arch.name}, {device}, {paddle_threads()} threads, Paddle {paddle.__version__}",
        f"layers: {layers}",
        *map(str, reports),
        _counts(model, config),
        loading,
        frozen,
        describe(batches.dataset, "training"),
        describe(eval_batches.dataset, "evaluation"),
        looked_at,
        where(config, run),
    ):
        if line:
            logger.info(line)
    if warning := imbalance(batches.dataset):
        logger.warning(warning)
    if start:
        progress = trainer.progress
        logger.info(
            f"resumed from {start}: epoch {progress.epoch}, batch {progress.batch}, step {progress.step}, lr "
            f"{optimizer.get_lr():g}, best top1 {progress.best_top1:.5f} in epoch {progress.best_epoch}"
        )
    trainer.fit()
    logger.info(
        f"best top1 {trainer.progress.best_top1:.5f} in epoch {trainer.progress.best_epoch}; {run.path} holds "
        f"best_model.pdparams, results.csv, curves.png"
    )
    logger.info(where(config, run))
    return run


def find_start(config: Config, run: Run) -> Path | None:
    """Prefix of the checkpoint to go on from, or None for a fresh run, which must not overwrite another."""
    target = config.Global.checkpoints
    start = find_checkpoint(target, run) if target else None
    goes_on = target == "auto" or (start is not None and start.parent.resolve() == run.path.resolve())
    if run.exists and not goes_on and not config.Global.overwrite:
        raise UserError(
            f"{run.path} already holds a run; resume it with -o Global.checkpoints=auto, start anew with "
            "-o Global.overwrite=true, or write elsewhere with -o Global.output_dir=DIR"
        )
    return start


def make_strategy(config: Config) -> Strategy:
    """How a batch becomes gradients: plain, or on mixtures of images."""
    loss, mixtures = CombinedLoss(config.Loss.Train), config.DataLoader.Train.dataset.batch_transform_ops
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


def make_listeners(config: Config, run: Run, eval_batches: Any) -> list[Any]:
    """All that listens to a run; the checkpoints last."""
    bar = sys.stdout.isatty()
    listeners = [
        LogLines(config.Global.print_batch_step, config.Optimizer.lr.name, quiet_steps=bar),
        Results(run.path / "results.csv"),
    ]
    if bar:
        listeners.append(ProgressBar())
    if config.Global.use_visualdl:
        from ppeconv.engine.visualdl import VisualDL

        samples = eval_batches.dataset.read(range(min(8, len(eval_batches.dataset))))
        listeners.append(VisualDL(run.path / "vdl", hparams(config), samples, every=10))
    return [*listeners, Checkpoints(run, config.Global.save_interval, config.Global.save_step_interval)]


def open_folder(run: Run, config: Config) -> None:
    """Make the run folder, write the config into it and start the log."""
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        (run.path / "config.yaml").write_text(configs.dump(config), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write the run folder {run.path}: {error.strerror}") from None
    log_to(run.path / "train.log")


def topk(config: Config) -> list[int]:
    """The k of the top-k accuracies, at most the number of classes."""
    return sorted({min(k, config.Arch.class_num) for k in config.Metric.topk} | {1})


def hparams(config: Config) -> dict[str, Any]:
    """Settings that tell runs apart."""
    operators = "+".join(f"{section.name}{section.arguments or ''}" for section in config.operators)
    return {
        "arch": config.Arch.name,
        "operator": operators or "none",
        "optimizer": config.Optimizer.name,
        "learning_rate": str(config.Optimizer.lr.arguments.get("learning_rate", "")),
        "batch_size": config.DataLoader.Train.sampler.batch_size,
        "epochs": config.Global.epochs,
        "seed": config.Global.seed,
    }


def where(config: Config, run: Run) -> str:
    """How to see the curves."""
    return f"curves: visualdl --logdir {run.path / 'vdl'} --language zh" if config.Global.use_visualdl else ""


def _counts(model: Any, config: Config) -> str:
    counts = count(model, [1, *config.Infer.image_shape])
    return f"{counts.params:,} trainable parameters, {counts.macs:,} MACs at {config.Infer.image_shape}"
