"""`eval`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ppeconv.cli.options import add_trained, command_parser, name_unreadable, of, trained
from ppeconv.domains import ShareOrAll, Threads
from ppeconv.extras import installed, left_out

if TYPE_CHECKING:
    from paddle import nn

    from ppeconv.config import Config
    from ppeconv.data.batches import Batches
    from ppeconv.engine.run import Run


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = command_parser("eval", "Evaluate a trained network on its evaluation data.")
    add_trained(parser)
    parser.add_argument(
        "--widths",
        action="extend",
        nargs="+",
        type=of(ShareOrAll),
        metavar="W",
        help="widths at which an any-width network is evaluated; ten from AnyWidth.min_width to 1 when not given",
    )
    parser.add_argument(
        "--threads", type=of(Threads), default=1, help="CPU threads of the latency of each width (default 1)"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, without images that cannot be read; returns the exit code."""
    from ppeconv.data.classes import absent
    from ppeconv.engine import distributed
    from ppeconv.engine.confusion import draw_confusion, write_per_class
    from ppeconv.engine.evaluator import evaluate
    from ppeconv.engine.log import log_to, logger
    from ppeconv.engine.losses import CombinedLoss
    from ppeconv.engine.setup import make_batches, select_backend, select_device
    from ppeconv.engine.train import topk
    from ppeconv.engine.widths import calibrate_for

    run, config = trained(arguments)
    select_backend(config, select_device(config.Global.device))
    distributed.join()
    log_to()
    model = run.load_model(config)
    batches = make_batches(config, "test", skip_unreadable=True)
    calibrate_for(model, config, [1.0])
    result = evaluate(model, batches, CombinedLoss(config.Loss.Eval), topk(config), config.Arch.class_num, "[Eval]")
    logger.info(f"[Eval][Avg]{result.summary()}, images: {result.confusion.sum()}")
    if warning := absent(batches.dataset, "evaluation"):
        logger.info(warning)
    names = config.Infer.class_names
    for name, count, top1 in list(zip(names, result.confusion.sum(1), result.per_class, strict=True))[:20]:
        logger.info(f"  {name}: top1 {top1:.5f} of {count} images")
    if run.exists and distributed.is_first():
        write_per_class(result, names, run.path / "per_class.csv")
        if installed("matplotlib") and (note := draw_confusion(result, names, run.path / "confusion.png")):
            logger.warning(note)
        _say_what_is_there("all classes", run.path / "per_class.csv", run.path / "confusion.png")
    if config.AnyWidth:
        _sweep(run, config, model, batches, arguments)
    return name_unreadable([batches.unreadable[position] for position in sorted(batches.unreadable)])


def _sweep(run: Run, config: Config, model: nn.Layer, batches: Batches, arguments: argparse.Namespace) -> None:
    """Evaluate every width and write the table, the plot and the curves."""
    import numpy as np

    from ppeconv.deployment import sweep
    from ppeconv.engine.evaluator import evaluate
    from ppeconv.engine.log import logger
    from ppeconv.engine.losses import CombinedLoss
    from ppeconv.engine.widths import calibrate_for

    widths = arguments.widths or np.linspace(config.AnyWidth.min_width, 1, 10).round(4).tolist()
    calibrate_for(model, config, widths)
    loss = CombinedLoss(config.Loss.Eval)
    rows = sweep.sweep(
        model,
        widths,
        lambda network: evaluate(network, batches, loss, [1], config.Arch.class_num, "[Eval][Widths]"),
        config.Infer.image_shape,
        threads=arguments.threads,
    )
    for row in rows:
        logger.info(
            f"  width {row.width:g}: top1 {row.top1:.5f}, {row.active_params:,} parameters in use, "
            f"{row.active_macs:,} MACs ({row.macs:,} with masked weights), {row.latency_ms:.3f} ms at batch {row.batch}"
        )
    low = max(0.25, rows[0].width)
    logger.info(f"area under the accuracy-width curve over [{low:g}, 1], per width: {sweep.area(rows):.5f}")
    if run.exists:
        sweep.write_csv(rows, run.path / "width.csv")
        if installed("matplotlib"):
            sweep.draw(rows, run.path / "width.png")
        if config.Global.use_visualdl and installed("visualdl"):
            sweep.write_curves(rows, run.path / "vdl" / "width")
        _say_what_is_there("all widths", run.path / "width.csv", run.path / "width.png")


def _say_what_is_there(head: str, table: Path, picture: Path) -> None:
    from ppeconv.engine.log import logger

    missing = left_out({"matplotlib": f"{picture.name} is not drawn"}, "train")
    logger.info(f"{head}: {table}{'' if missing else f', {picture}'}")
    for note in missing:
        logger.warning(note)
