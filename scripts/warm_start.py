"""Train operators from scratch and from a trained plain network, alike: python scripts/warm_start.py [OPERATOR ...]

ResNet20 of width 0.5 on CIFAR-10, three epochs of the zoo's recipe; the plain network is the zoo's `resnet20_width05`.
It passes over what is done and may be stopped at any time. A row of docs/results/warm_start.csv for each run, and the
table in docs/warm_start.md from these.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
DENSE = ROOT / "ppeconv" / "zoo" / "resnet20_width05" / "seed1" / "weights.safetensors"
RESULTS, PAGE = ROOT / "docs" / "results" / "warm_start.csv", ROOT / "docs" / "warm_start.md"
OPERATORS = (
    "GroupConv",
    "GhostConv",
    "DepthwiseSeparableConv",
    "SPConv",
    "HetConv",
    "BottleneckConv",
    "SpatialVersatileConv",
)
EPOCHS = 3
COLUMNS = (
    *("operator", "start", "images", "learning_rate", "start_top1", "fit_seconds"),
    *(f"top1_{epoch}" for epoch in range(1, EPOCHS + 1)),
)


def main() -> None:
    """Train what is left, and write the table."""
    options = parser().parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from ppeconv.engine.startup import import_paddle

    import_paddle()
    options.runs.mkdir(parents=True, exist_ok=True)
    for operator in [] if options.table else options.operators or OPERATORS:
        for start in ("scratch", "from_dense"):
            if not done(operator, start, options):
                run(operator, start, options)
    write_table()


def parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("operators", nargs="*", metavar="OPERATOR", help=f"default: {', '.join(OPERATORS)}")
    parser.add_argument("--share", type=float, default=1.0, help="of the training images that an epoch has (default 1)")
    parser.add_argument("--rate", type=float, default=0.2, help="peak learning rate (default 0.2, the zoo's)")
    parser.add_argument("--runs", type=Path, default=ROOT / "output" / "warm_start", help="folder of the runs")
    parser.add_argument("--table", action="store_true", help="only write the table")
    return parser


def rows() -> list[dict[str, str]]:
    """The runs so far."""
    if not RESULTS.is_file():
        return []
    with RESULTS.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def done(operator: str, start: str, options: argparse.Namespace) -> bool:
    """Whether that run has its row."""
    wanted = operator, start, str(image_count(options.share)), str(options.rate)
    return any(wanted == (row["operator"], row["start"], row["images"], row["learning_rate"]) for row in rows())


def image_count(share: float) -> int:
    """Training images of an epoch."""
    return round(50_000 * share)


def run(operator: str, start: str, options: argparse.Namespace) -> None:
    """Train one and add its row."""
    import paddle

    from ppeconv.config import dump
    from ppeconv.engine.evaluator import evaluate
    from ppeconv.engine.setup import select_backend
    from ppeconv.engine.weights import write_weights
    from ppeconv.experiment import Experiment

    folder = options.runs / f"{operator.lower()}_{start}_{image_count(options.share)}_{options.rate}"
    settings: dict[str, Any] = {
        "Arch.width": 0.5,
        "Global.epochs": EPOCHS,
        "Global.seed": 1,
        "Global.use_visualdl": False,
        "Optimizer.lr.learning_rate": options.rate,
    }
    if options.share < 1:
        settings["DataLoader.Train.dataset.val_ratio"] = 1 - options.share
    config = {
        "_base_": ["resnet20_conv_cifar10", "_base_/schedules/cifar_onecycle_12e.yaml"],
        "Operator": {"name": operator},
    }
    warm = {"Operator.init": "from_dense", "Arch.pretrained": str(DENSE)} if start == "from_dense" else {}
    parts = Experiment(config, settings | warm).parts
    weights = parts.starting_weights()
    parts = parts.filled()
    select_backend(parts.config.Global.cpu_backend, "cpu")
    paddle.seed(1)
    begun = time.perf_counter()
    model, notes = parts.started_model(weights)
    seconds = round(time.perf_counter() - begun)
    print(dump(parts.config), *notes, sep="\n", flush=True)
    loss, classes = parts.loss("Eval"), parts.config.Arch.class_num
    first = evaluate(model, parts.batches("test"), loss, [1], classes, "[Start]").top1
    write_weights(model, folder.with_suffix(".safetensors"))
    settings |= {"Arch.pretrained": str(folder.with_suffix(".safetensors")), "Global.overwrite": True}
    history = Experiment(config, settings, folder=folder).train()
    values = [operator, start, image_count(options.share), options.rate, round(first, 4), seconds if warm else ""]
    values += [row["eval_top1"] for row in history]
    with RESULTS.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not file.tell():
            writer.writerow(COLUMNS)
        writer.writerow(values)


def write_table() -> None:
    """Put the table in its place on the page."""
    from ppeconv.benchmark.table import between

    PAGE.write_text(between(PAGE.read_text("utf-8"), "warm_start", table()), "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def table() -> str:
    """A line for each operator, number of images and rate that has both runs."""
    found: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for row in rows():
        key = row["images"], row["learning_rate"], row["operator"]
        found.setdefault(key, {})[row["start"]] = row
    lines = [
        "| 算子 | 每轮训练图片 | 学习率峰值 | 替换后、训练前 | 热启动，1、2、3 轮 | 从头，1、2、3 轮 | 3 轮时的差 |",
        "|---|---:|---:|---:|---|---|---:|",
    ]
    for (images, rate, operator), pair in found.items():
        if len(pair) == 2:
            warm, scratch = pair["from_dense"], pair["scratch"]
            gain = 100 * (float(warm["top1_3"]) - float(scratch["top1_3"]))
            lines.append(
                f"| {operator} | {int(images):,} | {rate} | {percent(warm['start_top1'])} | {epochs(warm)} | "
                f"{epochs(scratch)} | {gain:+.1f} |"
            )
    return "\n".join(lines) + "\n"


def epochs(row: dict[str, str]) -> str:
    """Accuracies of the epochs."""
    return "、".join(percent(row[f"top1_{epoch}"]) for epoch in range(1, EPOCHS + 1))


def percent(text: str) -> str:
    """A fraction as a percentage."""
    return f"{100 * float(text):.1f}%"


if __name__ == "__main__":
    main()
