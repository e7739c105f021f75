"""`export`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppeconv.cli.options import add_trained, command_parser, each, listed, of, path, trained
from ppeconv.domains import Count, ShareOrAll, Threads

if TYPE_CHECKING:
    from paddle import nn


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = command_parser(
        "export",
        "Export a trained network for prediction, to <run>/inference or -o Global.save_inference_dir=DIR.",
    )
    add_trained(parser)
    parser.add_argument(
        "--to",
        action="extend",
        type=listed,
        metavar="RUNTIME[,RUNTIME]",
        help="paddle (the default), onednn, onnx, int8, openvino: what the folder is for; several with commas",
    )
    parser.add_argument(
        "--form",
        choices=["deployed", "trained"],
        default="deployed",
        help="deployed (the default): batch norms folded and operators in their inference form, the same results; "
        "trained: layer by layer as it was trained",
    )
    parser.add_argument(
        "--weights",
        type=path,
        metavar="FILE",
        help="write the weights alone, as .safetensors or .pdparams, and nothing else",
    )
    parser.add_argument(
        "--widths",
        action="extend",
        nargs="+",
        type=of(ShareOrAll),
        metavar="W",
        help="widths of an any-width network: one is exported as the network, several into a folder each, with a "
        "table of their latencies from which tools/predict.py --budget-ms picks",
    )
    parser.add_argument(
        "--tune",
        action="store_true",
        help="measure the forms of operators that have several, layer by layer on the first runtime, and export each "
        "layer in its fastest",
    )
    parser.add_argument("--batch-size", type=of(Count), default=1, help="images in a call when tuning (default 1)")
    parser.add_argument(
        "--threads", type=of(Threads), default=1, help="CPU threads of what is measured here (default 1)"
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Export."""
    from ppeconv.anywidth import set_width
    from ppeconv.deployment.export import export
    from ppeconv.deployment.images import CALIBRATION_IMAGES, batches, some_test_images
    from ppeconv.deployment.int8 import compared, top1
    from ppeconv.deployment.preprocessing import prediction_facts
    from ppeconv.deployment.runtime import EagerRuntime
    from ppeconv.deployment.runtimes import open_runtime
    from ppeconv.deployment.widths import export_widths
    from ppeconv.engine.log import log_to, logger
    from ppeconv.engine.weights import write_weights
    from ppeconv.engine.widths import calibrate_for
    from ppeconv.errors import UserError

    arguments.to = each(arguments.to, ["paddle"])
    if arguments.tune and arguments.form != "deployed":
        raise UserError("--tune chooses among inference forms, and the trained form is layer by layer as trained")
    log_to()
    run, config = trained(arguments)
    model = run.load_model(config)
    if arguments.weights:
        write_weights(model, Path(arguments.weights))
        print(f"ppeconv: wrote {arguments.weights}")
        return
    folder = Path(config.Global.save_inference_dir or run.path / "inference")
    facts, shape, widths = prediction_facts(config), config.Infer.image_shape, arguments.widths
    if widths and not config.AnyWidth:
        raise UserError(f"--widths is for any-width networks; {config.Arch.name} of this run has one width")
    calibrate_for(model, config, widths or [1.0])
    if widths and len(widths) > 1:
        if "int8" in arguments.to:
            raise UserError("several --widths are exported to paddle, onnx and openvino; give one width for int8")
        differences = export_widths(model, folder, shape, widths, facts, arguments.threads, arguments.to)
        for width, difference in differences.items():
            logger.info(f"width {width:g}: largest difference from the trained network {difference:.1e} of its output")
        logger.info(f"exported to {folder}; try it: python tools/predict.py --model {folder} --budget-ms 3 IMAGE")
        return
    if widths:
        set_width(model, widths[0])
    if "int8" in arguments.to:
        logger.info(
            f"int8: ranges of activations are taken from {CALIBRATION_IMAGES} training images; then the test images "
            "are evaluated before and after"
        )
    difference = export(
        model,
        folder,
        shape,
        facts,
        form=arguments.form,
        forms=_tuned(arguments, model, shape) if arguments.tune else None,
        to=arguments.to,
        images=some_test_images(config),
        calibration=(images for images, _ in batches(config, "train", CALIBRATION_IMAGES, "[int8][Calibration]")),
    )
    logger.info(
        f"exported the {arguments.form} form to {folder}; largest difference from the trained network "
        f"{difference:.1e} of its output"
    )
    if "int8" in arguments.to:
        before = top1(EagerRuntime(model), batches(config, "test", head="[Eval][Trained]"))
        after = top1(open_runtime(folder, "int8"), batches(config, "test", head="[Eval][int8]"))
        text, much = compared(before, after)
        logger.log(logging.WARNING if much else logging.INFO, text)
    logger.info(f"try it: python tools/predict.py --model {folder} IMAGE")


def _tuned(arguments: argparse.Namespace, model: nn.Layer, shape: Sequence[int]) -> dict[str, str]:
    """Layer -> its fastest form; says what was measured."""
    from ppeconv.deployment.tune import forms_of, tune
    from ppeconv.engine.log import logger

    runtime, batch, threads = arguments.to[0], arguments.batch_size, arguments.threads
    logger.info(f"inference forms, median of one call on {runtime}, batch size {batch}, threads {threads}:")
    tuned = tune(model, shape, runtime, batch, threads)
    for row in tuned:
        logger.info(str(row))
    if not tuned:
        logger.info("no layer has several; nothing to choose")
    return forms_of(tuned)
