"""`train`."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from ppeconv.cli.options import apart, command_parser, path
from ppeconv.engine.interrupt import advising


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = command_parser("train", "Train the network of a config; results go to <Global.output_dir>/<config name>/.")
    parser.add_argument(
        "-c", "--config", required=True, type=path, metavar="FILE", help="config file, or the name of a shipped one"
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Train."""
    from ppeconv.experiment import Experiment

    experiment = Experiment(arguments.config, arguments.override)
    with advising(f"go on with: {_again(arguments)}"):
        experiment.train()


def _again(arguments: argparse.Namespace) -> str:
    """The command line that goes on with the run."""
    program = "ppeconv train" if Path(sys.argv[0]).name == "ppeconv" else "python tools/train.py"
    modules = [word for module in arguments.modules for word in ("--import", module)]
    _, kept = apart(arguments.override)
    return f"{program} {shlex.join(['-c', arguments.config, *modules, '-o', *kept, 'Global.checkpoints=auto'])}"
