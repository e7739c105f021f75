"""`export`."""

from __future__ import annotations

import argparse

from ppeconv.cli.options import add_several, add_trained, command_parser, each, listed, of, path, trained
from ppeconv.deployment.runtimes import by_preference
from ppeconv.domains import Count, ShareOrAll, Threads
from ppeconv.errors import UserError


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = command_parser(
        "export",
        "Export a trained network for prediction, to <run>/inference or -o Global.save_inference_dir=DIR; one of "
        "the zoo to <Global.output_dir>/zoo/NAME/inference.",
    )
    add_trained(parser)
    parser.add_argument(
        "--to",
        action="extend",
        type=listed,
        metavar="RUNTIME[,RUNTIME]",
        help=f"what the folder is for: {', '.join(by_preference())} (default paddle); several with commas",
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
    words = (
        "widths of an any-width network: one is exported as the network, several into a folder each, with a table of "
        "their latencies from which tools/predict.py --budget-ms picks"
    )
    add_several(parser, "--widths", of(ShareOrAll), "W", words)
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
    if arguments.tune and arguments.form != "deployed":
        raise UserError("--tune chooses among inference forms, and the trained form is layer by layer as trained")
    experiment = trained(arguments)
    if arguments.weights:
        experiment.save_weights(arguments.weights)
        print(f"ppeconv: wrote {arguments.weights}")
        return
    experiment.export(
        each(arguments.to, ["paddle"]),
        form=arguments.form,
        widths=arguments.widths,
        tune=arguments.tune,
        batch_size=arguments.batch_size,
        threads=arguments.threads,
    )
