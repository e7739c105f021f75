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
    parser.add_argument(
        "--widths",
        nargs="+",
        type=float,
        metavar="W",
        help="widths of an any-width network: one is exported as the network, several into a folder each, with a "
        "table of their latencies from which tools/predict.py --budget-ms picks",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of that table (default 1)")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Export."""
    from ppeconv.anywidth import set_width
    from ppeconv.deployment.export import export
    from ppeconv.deployment.preprocessing import prediction_facts
    from ppeconv.deployment.widths import export_widths
    from ppeconv.engine import checkpoint
    from ppeconv.engine.log import log_to, logger
    from ppeconv.engine.widths import calibrate_for
    from ppeconv.errors import UserError

    run, config = trained(arguments)
    model = run.load_model(config)
    if arguments.weights:
        checkpoint.write_weights(model, Path(arguments.weights))
        print(f"ppeconv: wrote {arguments.weights}")
        return
    folder = Path(config.Global.save_inference_dir or run.path / "inference")
    log_to()
    facts, shape, widths = prediction_facts(config), config.Infer.image_shape, arguments.widths
    if widths and not config.AnyWidth:
        raise UserError(f"--widths is for any-width networks; {config.Arch.name} of this run has one width")
    calibrate_for(model, config, widths or [1.0])
    if widths and len(widths) > 1:
        for width, difference in export_widths(model, folder, shape, widths, facts, arguments.threads).items():
            logger.info(f"width {width:g}: largest difference from the trained network {difference:.1e} of its output")
        logger.info(f"exported to {folder}; try it: python tools/predict.py --model {folder} --budget-ms 3 IMAGE")
        return
    if widths:
        set_width(model, widths[0])
    difference = export(model, folder, shape, facts)
    logger.info(f"exported to {folder}; largest difference from the trained network {difference:.1e} of its output")
    logger.info(f"try it: python tools/predict.py --model {folder} IMAGE")
