"""`export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ppeconv.cli.options import add_trained, command_parser, trained


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = command_parser(
        "export",
        "Export a trained network for Paddle Inference, to <run>/inference or -o Global.save_inference_dir=DIR.",
    )
    add_trained(parser)
    parser.add_argument(
        "--weights", metavar="FILE", help="write the weights alone, as .safetensors or .pdparams, and nothing else"
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Export."""
    from ppeconv.deploy.export import export
    from ppeconv.deploy.preprocessing import prediction_facts
    from ppeconv.engine import checkpoint
    from ppeconv.engine.log import log_to, logger

    run, config = trained(arguments)
    model = run.load_model(config)
    if arguments.weights:
        checkpoint.write_weights(model, Path(arguments.weights))
        print(f"ppeconv: wrote {arguments.weights}")
        return
    folder = Path(config.Global.save_inference_dir or run.path / "inference")
    difference = export(model, folder, config.Infer.image_shape, prediction_facts(config))
    log_to()
    logger.info(f"exported to {folder}; largest difference from the trained network {difference:.1e} of its output")
    logger.info(f"try it: python tools/predict.py --model {folder} IMAGE")
