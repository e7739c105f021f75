"""`detect`."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from ppeconv import files
from ppeconv.cli.options import CommandParser, add_import, listed, of, path
from ppeconv.domains import ShareOrAll, Threads
from ppeconv.errors import UserError

EVALUATION, LATENCY = "evaluation.json", "latency.json"
"""In the run folder: what eval found last, and what export --measure did."""
_PICTURES = ".jpg", ".jpeg", ".png", ".bmp"


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = CommandParser(
        prog="ppeconv detect",
        description="Train and use detectors of PaddleDetection with backbones of ppeconv (configs/detection).",
    )
    parts = parser.add_subparsers(dest="part", required=True, metavar="train|eval|export|infer")
    train = _part(parts, "train", "train a detector, to <save_dir>/<name of the config>")
    train.add_argument("--eval", action="store_true", help="measure AP at every snapshot (snapshot_epoch)")
    train.add_argument(
        "-r",
        "--resume",
        type=path,
        metavar="CHECKPOINT",
        help="go on from a checkpoint, named without its ending; auto for the newest",
    )
    _part(parts, "eval", "AP of trained weights on EvalDataset, parameters and MACs")
    export = _part(parts, "export", "write a trained detector for Paddle Inference and ONNX Runtime")
    export.add_argument(
        "--output_dir", type=path, default="output_inference", metavar="DIR", help="to DIR/<name of the config>"
    )
    export.add_argument(
        "--to", type=listed, default=["paddle"], metavar="RUNTIME[,RUNTIME]", help="paddle (the default), onnx"
    )
    export.add_argument(
        "--form",
        choices=["deployed", "trained"],
        default="deployed",
        help="deployed (the default): batch norms folded and operators in their inference form; trained: as trained",
    )
    export.add_argument(
        "--measure", action="store_true", help="measure both forms in turns on each runtime, without suppression"
    )
    export.add_argument("--threads", type=of(Threads), default=1, help="CPU threads when measuring (default 1)")
    infer = _part(parts, "infer", "draw the boxes that a trained detector finds")
    source = infer.add_mutually_exclusive_group(required=True)
    source.add_argument("--infer_img", type=path, metavar="FILE", help="a picture")
    source.add_argument("--infer_dir", type=path, metavar="DIR", help="all pictures of a folder")
    infer.add_argument("--output_dir", type=path, default="output", metavar="DIR", help="where the copies go")
    infer.add_argument(
        "--draw_threshold", type=of(ShareOrAll), default=0.5, metavar="SCORE", help="lowest score (default 0.5)"
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Train, evaluate, export or draw."""
    from ppeconv.config.files import find

    pictures = _pictures(arguments) if arguments.part == "infer" else []
    file = find(arguments.config, "detection")

    from ppeconv.engine.log import log_to
    from ppeconv.integrations.ppdet import detector, settings

    config = settings.load(str(file), arguments.opt)
    log_to()
    if arguments.part == "train":
        print(f"ppeconv: trained {detector.train(config, arguments.eval, arguments.resume)}")
    elif arguments.part == "eval":
        figures = detector.evaluate(config)
        print("ppeconv: " + ", ".join(f"{name} {_text(value)}" for name, value in figures.items()))
        _keep(settings.run_folder(config) / EVALUATION, {"annotations": config["EvalDataset"].anno_path, **figures})
    elif arguments.part == "infer":
        drawn = detector.draw(config, pictures, arguments.output_dir, arguments.draw_threshold)
        print(f"ppeconv: drew {len(drawn)} pictures into {arguments.output_dir}")
    else:
        from ppeconv.integrations.ppdet.export import export, measure

        folder = Path(arguments.output_dir) / config["filename"]
        print(f"ppeconv: wrote {export(config, folder, arguments.form, arguments.to)}")
        if arguments.measure:
            times = measure(config, arguments.to, arguments.threads)
            for (runtime, form), milliseconds in times.items():
                print(f"ppeconv: {runtime}, {form}: {milliseconds:.2f} ms")
            kept = {f"{runtime} {form}": milliseconds for (runtime, form), milliseconds in times.items()}
            _keep(settings.run_folder(config) / LATENCY, {"threads": arguments.threads, **kept})


def _part(parts: argparse._SubParsersAction, name: str, what: str) -> argparse.ArgumentParser:
    """A part of the command, with -c, -o and --import."""
    part = parts.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
    part.add_argument(
        "-c", "--config", type=path, required=True, metavar="FILE", help="in PaddleDetection's form, or a shipped name"
    )
    part.add_argument(
        "-o", "--opt", action="extend", nargs="+", default=[], metavar="key=value", help="set a value; may be repeated"
    )
    add_import(part)
    return part


def _pictures(arguments: argparse.Namespace) -> list[str]:
    if arguments.infer_img:
        if not os.path.isfile(arguments.infer_img):
            raise UserError(f"there is no picture {arguments.infer_img}")
        return [arguments.infer_img]
    folder = Path(arguments.infer_dir)
    found = sorted(str(file) for file in folder.glob("*") if file.suffix.lower() in _PICTURES)
    if not found:
        raise UserError(f"there are no pictures ({', '.join(_PICTURES)}) in {folder}")
    return found


def _keep(file: Path, facts: dict[str, Any]) -> None:
    files.write_whole(file, (json.dumps(facts, indent=1) + "\n").encode())


def _text(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.2%}"
