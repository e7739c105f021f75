"""Evaluation of a trained network, with the files that a run keeps of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from paddle import nn

from ppeconv.data.classes import absent
from ppeconv.deployment import sweep
from ppeconv.deployment.sweep import WidthRow
from ppeconv.engine import distributed
from ppeconv.engine.confusion import draw_confusion, write_per_class
from ppeconv.engine.evaluator import Evaluation
from ppeconv.engine.evaluator import evaluate as evaluate_network
from ppeconv.engine.log import logger
from ppeconv.engine.run import Run
from ppeconv.errors import UserError
from ppeconv.experiment.parts import Parts
from ppeconv.extras import installed, left_out


def evaluate(parts: Parts, run: Run, model: nn.Layer) -> Evaluation:
    """Evaluate, without images that cannot be read, and write the tables and pictures of a run."""
    config, batches = parts.config, parts.batches("test", skip_unreadable=math.inf)
    parts.calibrate(model, [1.0])
    result = evaluate_network(model, batches, parts.loss("Eval"), parts.topk, config.Arch.class_num, "[Eval]")
    logger.info(f"[Eval][Avg]{result.summary()}, images: {result.confusion.sum()}")
    if warning := absent(batches.dataset, "evaluation"):
        logger.info(warning)
    names = config.Infer.class_names
    for name, count, top1 in list(zip(names, result.confusion.sum(1), result.per_class, strict=True))[:20]:
        logger.info(f"  {name}: top1 {top1:.5f} of {count} images")
    if run.exists and distributed.is_first():
        _keep(result, names, run)
    return result


def _keep(result: Evaluation, names: Sequence[str], run: Run) -> None:
    """Write table and picture; a folder that cannot be written to takes nothing away from what was said."""
    table, picture = run.path / "per_class.csv", run.path / "confusion.png"
    try:
        write_per_class(result, names, table)
        if installed("matplotlib") and (note := draw_confusion(result, names, picture)):
            logger.warning(note)
    except UserError as error:
        logger.warning(f"{error}; what stands above is kept nowhere")
    else:
        _say_what_is_there("all classes", table, picture)


def evaluate_widths(
    parts: Parts, run: Run, model: nn.Layer, widths: Sequence[float] | None, threads: int
) -> list[WidthRow]:
    """Evaluate, count and time every width and write the table, the plot and the curves of a run."""
    config, batches = parts.config, parts.batches("test", skip_unreadable=math.inf)
    widths = widths or np.linspace(config.AnyWidth.min_width, 1, 10).round(4).tolist()
    parts.calibrate(model, widths)
    loss = parts.loss("Eval")
    rows = sweep.sweep(
        model,
        widths,
        lambda network: evaluate_network(network, batches, loss, [1], config.Arch.class_num, "[Eval][Widths]"),
        config.Infer.image_shape,
        threads=threads,
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
        if parts.writes_visualdl:
            sweep.write_curves(rows, run.path / "vdl" / "width")
        _say_what_is_there("all widths", run.path / "width.csv", run.path / "width.png")
    return rows


def _say_what_is_there(head: str, table: Path, picture: Path) -> None:
    missing = left_out({"matplotlib": f"{picture.name} is not drawn"}, "train")
    logger.info(f"{head}: {table}{'' if missing else f', {picture}'}")
    for note in missing:
        logger.warning(note)
