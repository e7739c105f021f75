"""Export of a trained network, checked, tuned and calibrated on the images of its run."""

from __future__ import annotations

import logging
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from paddle import nn

from ppeconv.anywidth import set_width
from ppeconv.config import load
from ppeconv.deployment.accuracy import compared, top1
from ppeconv.deployment.eager import EagerRuntime
from ppeconv.deployment.export import Form, as_targets
from ppeconv.deployment.export import export as write_export
from ppeconv.deployment.runtimes import by_preference, open_runtime
from ppeconv.deployment.tune import forms_of, tune
from ppeconv.deployment.widths import export_widths
from ppeconv.engine.log import logger
from ppeconv.engine.run import Run
from ppeconv.errors import UserError
from ppeconv.experiment.data import CALIBRATION_IMAGES
from ppeconv.experiment.parts import Parts
from ppeconv.experiment.trained import of_trained
from ppeconv.registry import RUNTIMES


@contextmanager
def exported(name: str, runtime: str | None) -> Iterator[Path]:
    """A folder for `Predictor` with a network of the zoo, thrown away afterwards; needs no data set, int8 apart.

    Args:
        name: "zoo:" and a name of `list_pretrained()`.
        runtime: what it is for; Paddle Inference when not given.
    """
    source, settings = of_trained(name)
    parts, to = Parts(load(source, settings)), as_targets(runtime or "paddle")
    model = parts.trained_model(Run(name))
    parts.calibrate(model, [1.0])
    calibration = parts.calibration_images() if _quantizing(to) else None
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "inference"
        shape, facts = parts.config.Infer.image_shape, parts.prediction_facts()
        write_export(model, folder, shape, facts, to=to, calibration=calibration)
        yield folder


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
    if quantizing := _quantizing(to):
        logger.info(
            f"{', '.join(quantizing)}: ranges of activations are taken from {CALIBRATION_IMAGES} training images; then "
            "the test images are evaluated before and after"
        )
    with set_width(model, widths[0]) if widths else nullcontext():
        _export_one(parts, model, folder, to, form, _fastest_forms(parts, model, to[0], measured) if tuned else None)
    logger.info(f"try it: python tools/predict.py --model {shlex.quote(str(folder))} IMAGE")
    return folder


def _export_one(
    parts: Parts, model: nn.Layer, folder: Path, to: Sequence[str], form: Form, forms: dict[str, str] | None
) -> None:
    quantizing = _quantizing(to)
    difference = write_export(
        model,
        folder,
        parts.config.Infer.image_shape,
        parts.prediction_facts(),
        form=form,
        forms=forms,
        to=to,
        images=parts.some_test_images(),
        calibration=parts.calibration_images(f"[{', '.join(quantizing)}][Calibration]"),
    )
    logger.info(
        f"exported the {form} form to {folder}; largest difference from the trained network {difference:.1e} of its "
        "output"
    )
    if quantizing:
        _compare_accuracy(parts, model, folder, quantizing)


def _compare_accuracy(parts: Parts, model: nn.Layer, folder: Path, quantizing: Sequence[str]) -> None:
    """On the test images, with the network and with the runtimes that round it."""
    before = top1(EagerRuntime(model), parts.plain_images("test", head="[Eval][Trained]"))
    for name in quantizing:
        after = top1(open_runtime(folder, name), parts.plain_images("test", head=f"[Eval][{name}]"))
        text, much = compared(name, before, after)
        logger.log(logging.WARNING if much else logging.INFO, text)


def _export_widths(
    parts: Parts, model: nn.Layer, folder: Path, to: Sequence[str], widths: Sequence[float], threads: int
) -> None:
    if quantizing := _quantizing(to):
        exact = [name for name, kind in by_preference().items() if not kind.quantizes]
        raise UserError(
            f"several --widths are exported to {', '.join(exact)}; give one width for {' and '.join(quantizing)}"
        )
    shape, facts = parts.config.Infer.image_shape, parts.prediction_facts()
    for width, difference in export_widths(model, folder, shape, widths, facts, threads, to).items():
        logger.info(f"width {width:g}: largest difference from the trained network {difference:.1e} of its output")
    logger.info(
        f"exported to {folder}; try it: python tools/predict.py --model {shlex.quote(str(folder))} --budget-ms 3 IMAGE"
    )


def _quantizing(to: Sequence[str]) -> list[str]:
    """Those of the runtimes that round to few bits."""
    return [name for name in to if RUNTIMES.get(name).quantizes]


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
