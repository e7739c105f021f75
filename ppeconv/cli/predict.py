"""`predict`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="ppeconv predict", description="Classify images with an exported network.")
    parser.add_argument("--model", required=True, metavar="DIR", help="folder that export wrote")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image file, folder, or quoted pattern")
    parser.add_argument("--topk", type=int, default=5, help="classes to show (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Predict."""
    from ppeconv.deploy.predictor import Predictor, find_images

    predictor = Predictor(arguments.model, arguments.threads, arguments.device)
    for prediction in predictor.predict(find_images(arguments.images), arguments.topk):
        if arguments.json:
            print(json.dumps(asdict(prediction), ensure_ascii=False))
        else:
            classes = ", ".join(
                f"{name} {score:.3f}" for name, score in zip(prediction.class_names, prediction.scores, strict=True)
            )
            print(f"{prediction.file}: {classes}")
