"""`benchmark`."""

from __future__ import annotations

import argparse

from ppeconv.cli.options import command_parser
from ppeconv.errors import UserError


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = command_parser("benchmark", "Measure networks beside each other in one run; medians.")
    parser.add_argument(
        "-c", "--config", action="append", required=True, metavar="FILE", help="config; may be repeated"
    )
    parser.add_argument(
        "--train", action="store_true", required=True, help="the training step: fast CPU layers beside stock Paddle"
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="images in a batch (default: the config's)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant (default 5)")
    parser.add_argument("--times", type=int, default=2, help="timed runs in a turn (default 2)")
    parser.add_argument("--csv", metavar="FILE", help="write the table there too")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Measure."""
    from ppeconv.benchmark.table import as_text, write_csv
    from ppeconv.benchmark.training import training_speed

    if min(arguments.rounds, arguments.times, arguments.batch_size or 1) < 1:
        raise UserError("--rounds, --times and --batch-size are at least 1")
    rows = [
        training_speed(
            config,
            arguments.override,
            batch_size=arguments.batch_size,
            rounds=arguments.rounds,
            times=arguments.times,
        )
        for config in arguments.config
    ]
    print(as_text(rows))
    if arguments.csv:
        try:
            write_csv(rows, arguments.csv)
        except OSError as error:
            raise UserError(f"cannot write {arguments.csv}: {error.strerror}") from None
