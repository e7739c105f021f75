"""`train`."""

from __future__ import annotations

import argparse

from ppeconv.cli.options import command_parser, path


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = command_parser("train", "Train the network of a config; results go to <Global.output_dir>/<config name>/.")
    parser.add_argument(
        "-c", "--config", required=True, type=path, metavar="FILE", help="config file, or the name of a shipped one"
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Train."""
    from ppeconv import config as configs
    from ppeconv.engine.run import Run
    from ppeconv.engine.train import train

    config = configs.load(arguments.config, arguments.override)
    train(config, Run.of(config, arguments.config))
