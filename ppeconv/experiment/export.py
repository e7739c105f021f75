"""Export of a trained network, checked, tuned and calibrated on the images of its run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from paddle import nn

from ppeconv.anywidth import set_width
from ppeconv.deployment.export import Form
from ppeconv.deployment.export import export as write_export
from ppeconv.deployment.int8 import compared, top1
from ppeconv.deployment.runtime import EagerRuntime
from ppeconv.deployment.runtimes import open_runtime
from ppeconv.deployment.tune import forms_of, tune
from ppeconv.deployment.widths import export_widths
from ppeconv.engine.log import logger
from ppeconv.engine.run import Run
from ppeconv.errors import UserError
from ppeconv.experiment.parts import CALIBRATION_IMAGES, Parts


@dataclass(frozen=True)
class Measured:
    """How forms and latencies are measured: images in a call when tuning, and CPU threads."""

    batch_size: int = 1
    threads: int = 1


def export(
    parts: Parts,
    run: Run,
    model: nn.Layer,
    to: Sequence[str],
    form: Form,
    widths: Sequence[float] | None,
    tuned: bool,
    measured: Measured,
) -> Path:
    """Write the network for prediction; returns the folder."""
    config = parts.config
    folder = Path(config.Global.save_inference_dir or run.path / "inference")
    if widths and not config.AnyWidth:
        raise UserError(f"--widths is for any-width networks; {config.Arch.name} of this run has one width")
    parts.calibrate(model, widths or [1.0])
    if widths and len(widths) > 1:
        _export_widths(parts, model, folder, to, widths, measured.threads)
        return folder
    if "int8" in to:
        logger.info(
            f"int8: ranges of activations are taken from {CALIBRATION_IMAGES} training images; then the test images "
            "are evaluated before and after"
        )
    with set_width(model, widths[0]) if widths else nullcontext():
        _export_one(parts, model, folder, to, form, _fastest_forms(parts, model, to[0], measured) if tuned else None)
    logger.info(f"try it: python tools/predict.py --model {folder} IMAGE")
    return folder


def _export_one(
    parts: Parts, model: nn.Layer, folder: Path, to: Sequence[str], form: Form, forms: dict[str, str] | None
) -> None:
    difference = write_export(
        model,
        folder,
        parts.config.Infer.image_shape,
        parts.prediction_facts(),
        form=form,
        forms=forms,
        to=to,
        images=parts.some_test_images(),
        calibration=parts.calibration_images("[int8][Calibration]"),
    )
    logger.info(
        f"exported the {form} form to {folder}; largest difference from the trained network {difference:.1e} of its "
        "output"
    )
    if "int8" in to:
        before = top1(EagerRuntime(model), parts.plain_images("test", head="[Eval][Trained]"))
        after = top1(open_runtime(folder, "int8"), parts.plain_images("test", head="[Eval][int8]"))
        text, much = compared(before, after)
        logger.log(logging.WARNING if much else logging.INFO, text)


def _export_widths(
    parts: Parts, model: nn.Layer, folder: Path, to: Sequence[str], widths: Sequence[float], threads: int
) -> None:
    if "int8" in to:
        raise UserError("several --widths are exported to paddle, onnx and openvino; give one width for int8")
    shape, facts = parts.config.Infer.image_shape, parts.prediction_facts()
    for width, difference in export_widths(model, folder, shape, widths, facts, threads, to).items():
        logger.info(f"width {width:g}: largest difference from the trained network {difference:.1e} of its output")
    logger.info(f"exported to {folder}; try it: python tools/predict.py --model {folder} --budget-ms 3 IMAGE")


def _fastest_forms(parts: Parts, model: nn.Layer, runtime: str, measured: Measured) -> dict[str, str]:
    """Layer -> its fastest form; says what was measured."""
    batch, threads = measured.batch_size, measured.threads
    logger.info(f"inference forms, median of one call on {runtime}, batch size {batch}, threads {threads}:")
    tuned = tune(model, parts.config.Infer.image_shape, runtime, batch, threads)
    for row in tuned:
        logger.info(str(row))
    if not tuned:
        logger.info("no layer has several; nothing to choose")
    return forms_of(tuned)
