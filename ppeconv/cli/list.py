"""`list`."""

from __future__ import annotations

import argparse


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="ppeconv list", description="List what a config can name.")
    parser.add_argument("kind", nargs="?", choices=["operators", "backbones", "configs"], help="all when not given")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Print the lists."""
    from ppeconv import config as configs
    from ppeconv.build import list_backbones, list_operators

    kinds = {
        "operators": list_operators,
        "backbones": list_backbones,
        "configs": lambda: dict.fromkeys(configs.shipped(), ""),
    }
    for kind in [arguments.kind] if arguments.kind else kinds:
        print(f"{kind}:")
        for name, summary in kinds[kind]().items():
            print(f"  {name:<18} {summary}".rstrip())
