"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppeconv.config import Config
    from ppeconv.engine.run import Run


def command_parser(name: str, description: str) -> argparse.ArgumentParser:
    """A parser with -o and --import."""
    parser = argparse.ArgumentParser(prog=f"ppeconv {name}", description=description)
    parser.add_argument(
        "-o",
        "--override",
        action="extend",
        nargs="+",
        default=[],
        metavar="Section.key=value",
        help="set a config value; may be repeated",
    )
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a Python module first, such as one that registers operators of your own; may be repeated",
    )
    return parser


def add_trained(parser: argparse.ArgumentParser) -> None:
    """--run, or -c with Global.pretrained_model: what was trained."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", metavar="DIR", help="run folder, such as output/resnet18_spconv_cifar10")
    source.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="config; weights from -o Global.pretrained_model=PATH, else from the config's own run folder",
    )


def trained(arguments: argparse.Namespace) -> tuple[Run, Config]:
    """The run folder and the config, with data facts, that the options mean."""
    from ppeconv import config as configs
    from ppeconv.engine.run import Run
    from ppeconv.engine.setup import with_data_facts

    if arguments.run:
        run = Run(arguments.run)
        return run, run.config(arguments.override)
    config = configs.load(arguments.config, arguments.override)
    run = Run.of(config, arguments.config)
    return run, with_data_facts(config)
