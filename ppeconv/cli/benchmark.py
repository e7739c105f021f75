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
        "--train", action="store_true", help="the training step, fast CPU layers beside stock Paddle, not inference"
    )
    parser.add_argument(
        "--runtime", type=lambda text: text.split(","), default=["paddle"], help="paddle, onnx, or both with a comma"
    )
    parser.add_argument("--form", choices=["deployed", "trained"], default="deployed", help="as in export")
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="images in a batch (default: 1 and 64; the config's with --train)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant (default 5)")
    parser.add_argument("--times", type=int, default=2, help="timed runs in a turn (default 2)")
    parser.add_argument("--csv", metavar="FILE", help="write the table there too")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Measure."""
    from ppeconv.benchmark.inference import BATCH_SIZES, inference_speed
    from ppeconv.benchmark.table import as_text, write_csv
    from ppeconv.benchmark.training import training_speed

    if min(arguments.rounds, arguments.times, arguments.batch_size or 1) < 1:
        raise UserError("--rounds, --times and --batch-size are at least 1")
    turns = {"rounds": arguments.rounds, "times": arguments.times}
    if arguments.train:
        rows = [
            training_speed(config, arguments.override, batch_size=arguments.batch_size, **turns)
            for config in arguments.config
        ]
    else:
        if "int8" in arguments.runtime:
            raise UserError("int8 needs trained weights and images; the benchmark measures paddle and onnx")
        rows = inference_speed(
            arguments.config,
            arguments.override,
            runtimes=arguments.runtime,
            batch_sizes=[arguments.batch_size] if arguments.batch_size else BATCH_SIZES,
            form=arguments.form,
            **turns,
        )
    print(as_text(rows))
    if arguments.csv:
        try:
            write_csv(rows, arguments.csv)
        except OSError as error:
            raise UserError(f"cannot write {arguments.csv}: {error.strerror}") from None
