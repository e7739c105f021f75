"""`list`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ppeconv.cli.options import CommandParser


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = CommandParser(
        prog="ppeconv list", description="List what a config can name, and the weights that come with ppeconv."
    )
    kinds = ["operators", "recalibrations", "heads", "branches", "backbones", "configs", "pretrained"]
    parser.add_argument("kind", nargs="?", choices=kinds, help="all when not given")
    parser.add_argument("--counts", action="store_true", help="with parameters and MACs; builds every network")
    parser.add_argument(
        "--matrix",
        action="store_true",
        help="how many convolutions of each backbone each operator replaces, or why none",
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Print the lists."""
    from ppeconv import config as configs
    from ppeconv.models.create import list_backbones, list_operators
    from ppeconv.pretrained.weights import list_pretrained
    from ppeconv.registry import BRANCHES, HEADS, RECALIBRATIONS

    if arguments.matrix:
        for line in matrix():
            print(line)
        return
    kinds: dict[str, tuple[Callable[[], Mapping[str, Any]], Callable[[str], str]]] = {
        "operators": (list_operators, operator_counts),
        "recalibrations": (RECALIBRATIONS.summaries, block_counts),
        "heads": (HEADS.summaries, block_counts),
        "branches": (BRANCHES.summaries, block_counts),
        "backbones": (list_backbones, backbone_counts),
        "configs": (lambda: dict.fromkeys(configs.shipped(), ""), config_counts),
        "pretrained": (list_pretrained, pretrained_counts),
    }
    for kind in [arguments.kind] if arguments.kind else kinds:
        names, counts = kinds[kind]
        print(f"{kind}:")
        for name, summary in names().items():
            print(f"  {name:<24} {summary}".rstrip())
            if arguments.counts:
                print(f"  {'':<24} {counts(name)}")


def matrix() -> Iterator[str]:
    """For each backbone a line per operator, with the operator's own rules and arguments."""
    from ppeconv.models.create import create_backbone, list_backbones, list_operators
    from ppeconv.surgery.replace import coverage

    for backbone in list_backbones():
        model = create_backbone(backbone)
        yield f"{backbone}:"
        for operator in list_operators():
            yield f"  {operator:<24} {coverage(model, operator)}"


def operator_counts(name: str) -> str:
    """The operator beside the plain 3x3 convolution from 64 to 64 channels."""
    from ppeconv.operators.table import share_of_plain

    params, macs = share_of_plain(name)
    return f"64->64, 3x3: {params:.1%} of the parameters, {macs:.1%} of the MACs of the plain convolution"


def block_counts(name: str) -> str:
    """The recalibration block or head on a map of 64 channels, or what is left of a branch of as many."""
    from ppeconv.registry import placed

    cost = placed(name).get(name).formula(64, 32, 32)
    return f"64 channels, 32x32: {cost.params:,} parameters, {cost.macs:,} MACs"


def backbone_counts(name: str) -> str:
    """The plain backbone on images of its usual size."""
    from ppeconv.counting import count
    from ppeconv.models.create import create_backbone
    from ppeconv.surgery.images import usual_shape

    model = create_backbone(name)
    shape = usual_shape(model)
    counts = count(model, shape)
    return f"{counts.params:,} parameters, {counts.macs:,} MACs at {shape}"


def config_counts(name: str) -> str:
    """The network of a config; its data set says how many classes there are."""
    from ppeconv.counting import count
    from ppeconv.errors import UserError
    from ppeconv.experiment import Experiment

    try:
        parts = Experiment(name).parts.filled()
    except UserError as error:
        return f"not counted: {error}"
    shape = parts.config.Infer.image_shape
    counts = count(parts.model()[0], [1, *shape])
    return f"{counts.params:,} parameters, {counts.macs:,} MACs at {shape}"


def pretrained_counts(name: str) -> str:
    """The network of these weights, as their record has it, and how they were trained."""
    from ppeconv.pretrained.weights import named

    weights = named(name)
    return (
        f"{weights.params:,} parameters, {weights.macs:,} MACs at {list(weights.image_shape)}; {weights.epochs} epochs "
        f"of {weights.optimizer} and {weights.schedule}, batch size {weights.batch_size}; code {weights.source}"
    )
