"""`predict`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppeconv.cli.options import ZOO, CommandParser, add_import, add_precision, name_unreadable, of, path
from ppeconv.deployment.runtimes import by_preference
from ppeconv.domains import Count, Positive, Threads

if TYPE_CHECKING:
    from ppeconv.deployment.predictor import Prediction
    from ppeconv.errors import UserError


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    kinds = by_preference()
    devices = list(dict.fromkeys(device for kind in kinds.values() for device in kind.devices))
    parser = CommandParser(prog="ppeconv predict", description="Classify images with an exported network.")
    parser.add_argument("--model", required=True, type=path, metavar="DIR", help=f"folder that export wrote, or {ZOO}")
    parser.add_argument("images", nargs="+", type=path, metavar="IMAGE", help="image file, folder, or quoted pattern")
    parser.add_argument("--topk", type=of(Count), default=5, help="classes to show (default 5)")
    parser.add_argument(
        "--budget-ms",
        type=of(Positive),
        metavar="MS",
        help="milliseconds that the network may take for one image; picks among several exported widths",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--threads", type=of(Threads), help="CPU threads")
    parser.add_argument(
        "--runtime", metavar="NAME", help=f"{', '.join(kinds)} (default: the first of these that DIR holds)"
    )
    add_precision(parser)
    parser.add_argument("--device", choices=devices, default="cpu")
    add_import(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Predict all images that can be read; returns the exit code."""
    from ppeconv.data.found import images_of

    unreadable: list[str] = []
    found = images_of(arguments.images)
    if left_out := found.left_out():
        print(f"ppeconv: left out: {left_out}", file=sys.stderr)
    with _folder(arguments) as folder:
        for prediction in _predictions(folder, found.paths, arguments, lambda error: unreadable.append(str(error))):
            if arguments.json:
                print(json.dumps(asdict(prediction), ensure_ascii=False))
            else:
                classes = ", ".join(
                    f"{name} {score:.3f}" for name, score in zip(prediction.class_names, prediction.scores, strict=True)
                )
                print(f"{prediction.file}: {classes}")
    return name_unreadable(unreadable)


def _folder(arguments: argparse.Namespace) -> AbstractContextManager[str | Path]:
    """What export wrote, or writes now of a network of the zoo."""
    from ppeconv.errors import UserError
    from ppeconv.pretrained.weights import is_zoo

    if not is_zoo(arguments.model):
        return nullcontext(arguments.model)
    if arguments.budget_ms is not None:
        raise UserError(
            f"--budget-ms picks among the widths that an any-width network was exported in, and {arguments.model} has "
            "one width; leave it out"
        )
    from ppeconv.experiment.export import exported

    return exported(arguments.model, arguments.runtime)


def _predictions(
    folder: str | Path, images: list[Path], arguments: argparse.Namespace, unreadable: Callable[[UserError], None]
) -> Iterator[Prediction]:
    """By the exported network, or by that of the width which fits the budget."""
    from ppeconv.deployment.predictor import Predictor
    from ppeconv.deployment.widths import AnyWidthPredictor, holds_widths

    where = folder, arguments.threads, arguments.device, arguments.runtime, arguments.precision
    options = {"topk": arguments.topk, "unreadable": unreadable}
    budget = arguments.budget_ms
    one_width = budget is None and not holds_widths(folder)
    predictor: Any = (Predictor if one_width else AnyWidthPredictor)(*where, keep_freed_pages=True)
    if budget is None:
        return predictor.predict(images, **options)
    width = predictor.width_for(budget)
    expected = predictor.expected_ms(width)
    late = f", above the budget of {budget:g} ms: no width is faster" if expected > budget else ""
    print(f"ppeconv: width {width:g}, measured {expected:.3f} ms an image{late}", file=sys.stderr)
    return predictor.predict(images, batch_size=1, budget_ms=budget, **options)
