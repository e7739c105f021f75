"""`eval`."""

from __future__ import annotations

import argparse

from ppeconv.cli.options import add_several, add_trained, command_parser, name_unreadable, of, trained
from ppeconv.domains import ShareOrAll, Threads


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = command_parser("eval", "Evaluate a trained network on its evaluation data.")
    add_trained(parser)
    words = "widths at which an any-width network is evaluated; ten from AnyWidth.min_width to 1 when not given"
    add_several(parser, "--widths", of(ShareOrAll), "W", words)
    parser.add_argument(
        "--threads", type=of(Threads), default=1, help="CPU threads of the latency of each width (default 1)"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, without images that cannot be read; returns the exit code."""
    experiment = trained(arguments)
    result = experiment.evaluate()
    if experiment.config.AnyWidth:
        experiment.evaluate_widths(arguments.widths, arguments.threads)
    return name_unreadable(result.unreadable)
