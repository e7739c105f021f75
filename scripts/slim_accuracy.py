"""Networks made by slim beside single operators and narrower plain ones: python scripts/slim_accuracy.py PART

ResNet20 of twice the channels on CIFAR-10. For each seed a plain network is trained for 5 epochs: the start of slim,
and everybody's teacher. slim makes it as fast as several budgets ask for, and each result is trained for 3 epochs more;
narrower plain networks and single operators, at several widths, are trained for 8 from the beginning.

The parts: train makes all that can be trained by now, several processes may be at it at once, and once more after slim;
slim and table measure the runtime onednn on batches of 64, on an idle machine. train passes over what is done and goes
on with what was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
KEPT, PAGE = ROOT / "docs" / "results" / "slim.csv", ROOT / "docs" / "slim.md"
EPOCHS, MORE = 5, 3
BUDGETS = "0.5", "0.7", "0.35"
PLAIN, SLIM = "plain", "slim"
START = "resnet20_conv_cifar10", 2.0
CURVES: dict[str, tuple[str, Sequence[float]]] = {
    PLAIN: (START[0], (1.5, 1)),
    "GhostConv": ("resnet20_ghostconv_cifar10", (1.5, 1)),
    "DepthwiseSeparableConv": ("resnet20_depthwiseseparableconv_cifar10", (3, 4)),
    "HetConv": ("resnet20_hetconv_cifar10", (2, 1)),
}
"""What slim is compared with: a config, and the widths at which it is trained."""


@dataclass(frozen=True)
class Trained:
    """A network of the comparison."""

    curve: str
    """A key of CURVES, or SLIM."""
    size: str
    """Width, or budget."""
    seed: int
    top1: float
    latency_ms: float


def main() -> int:
    """Do one part; the exit code."""
    options = parser().parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1" if options.part == "train" else "2")
    from ppeconv.engine.startup import import_paddle

    import_paddle()
    from ppeconv.engine.interrupt import Stopped, advising, listening

    try:
        with listening(), advising("the same command goes on"):
            for seed in options.seeds if options.part != "table" else ():
                (train if options.part == "train" else slim)(seed, options)
            if options.part == "table":
                write_table(options)
    except Stopped as stopped:
        print(f"slim_accuracy: {stopped}", file=sys.stderr)
        return stopped.exit_code
    return 0


def parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("train", "slim", "table"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--runs", type=Path, default=ROOT / "output" / "slim_accuracy", help="folder of the runs")
    parser.add_argument(
        "-o", dest="overrides", nargs="+", default=[], help="for every training, such as AMP.use_amp=true"
    )
    return parser


def train(seed: int, options: argparse.Namespace) -> None:
    """The start and, once it is there, all that slim is compared with and all that slim made."""
    from ppeconv.slimming.run import TEACHER

    start = options.runs / f"start_seed{seed}"
    if not trained(start, recipe(*START, seed), [f"Global.epochs={EPOCHS}"], options):
        return
    losses = [{"CELoss": {"epsilon": 0.1}}, {"DistillLoss": {"teacher": str(start), **TEACHER}}]
    settings = [f"Global.epochs={EPOCHS + MORE}", f"Loss.Train={json.dumps(losses)}"]
    for curve, (config, widths) in CURVES.items():
        for width in widths:
            trained(place(options, curve, width, seed), recipe(config, width, seed), settings, options)
    for budget in BUDGETS:
        folder = made_run(options, budget, seed)
        if (config := folder.parent / "config.yaml").is_file():
            trained(folder, str(config), [], options)


def recipe(config: str, width: float, seed: int) -> dict[str, Any]:
    """A shipped config in a width, for few epochs."""
    values = {"Arch": {"width": width}, "Global": {"seed": seed, "use_visualdl": False}}
    return {"_base_": [config, "_base_/schedules/cifar_onecycle_12e.yaml"], **values}


def trained(folder: Path, config: str | dict[str, Any], settings: Sequence[str], options: argparse.Namespace) -> bool:
    """Train into a folder, unless another process is at it; whether all epochs are done."""
    from ppeconv.engine.lock import Busy
    from ppeconv.experiment import Experiment

    settings = ["Global.checkpoints=auto", "Global.save_step_interval=100", *settings, *options.overrides]
    experiment = Experiment(config, settings, folder=folder)
    if len(experiment.history) < experiment.config.Global.epochs:
        try:
            experiment.train()
        except Busy as busy:
            print(f"slim_accuracy: {busy}", flush=True)
            return False
    return True


def slim(seed: int, options: argparse.Namespace) -> None:
    """The start in every budget, its training prepared: slim takes a quarter of the epochs of the start."""
    command = [sys.executable, str(ROOT / "tools" / "slim.py"), "--run", str(options.runs / f"start_seed{seed}")]
    command += ["--budget", *BUDGETS, "--runtime", "onednn", "--batch-size", "64", "--threads", "2"]
    command += ["--output", str(options.runs / f"slim_seed{seed}"), "-o", f"Global.epochs={4 * MORE}"]
    subprocess.run([*command, *options.overrides], check=True)


def write_table(options: argparse.Namespace) -> None:
    """Measure all in turns, keep what was found, and put the tables in their place on the page."""
    from ppeconv.benchmark import machine
    from ppeconv.benchmark.table import between, write_csv

    found = measured(options)
    write_csv(found, KEPT, {**machine.facts(), "runtime": "onednn", "batch_size": "64"})
    PAGE.write_text(between(PAGE.read_text("utf-8"), "slim", "\n".join(tables(found)) + "\n"), "utf-8")
    print(f"wrote {KEPT.relative_to(ROOT)} and {PAGE.relative_to(ROOT)}")


def measured(options: argparse.Namespace) -> list[Trained]:
    """All runs with their accuracy and latency; of networks that are the same one is measured."""
    from ppeconv.choosing.comparison import measure
    from ppeconv.choosing.contenders import contenders
    from ppeconv.choosing.sittings import How
    from ppeconv.engine.run import Run

    compared = []
    for curve, size, seed, folder in runs(options):
        (contender,) = contenders([str(folder)]) if Run(folder).exists else [None]
        if contender is None or contender.unfinished:
            print(f"slim_accuracy: {folder} is left out, as it is not trained yet")
            continue
        compared.append((curve, size, seed, replace(contender, name=f"{curve} {size}, seed {seed}")))
    how = How(("onednn",), 64, 2, "deployed", 7)
    times = {row.network: row.median_ms for row in measure([it for *_, it in compared], how, print)}
    return [Trained(*which, it.top1 or 0.0, times[it.name] or 0.0) for *which, it in compared]


def runs(options: argparse.Namespace) -> Iterator[tuple[str, str, int, Path]]:
    """Curve, width or budget, seed and folder of every run but the starts."""
    for seed in options.seeds:
        for curve, (_, widths) in CURVES.items():
            for width in widths:
                yield curve, f"{width:g}", seed, place(options, curve, width, seed)
        for budget in BUDGETS:
            yield SLIM, budget, seed, made_run(options, budget, seed)


def place(options: argparse.Namespace, curve: str, width: float, seed: int) -> Path:
    """Folder of a run that slim does not make."""
    return options.runs / f"{curve.lower()}_{width:g}_seed{seed}"


def made_run(options: argparse.Namespace, budget: str, seed: int) -> Path:
    """Folder of a run of what slim made."""
    return options.runs / f"slim_seed{seed}" / budget / "config"


def tables(found: Sequence[Trained]) -> Iterator[str]:
    """What slim made beside what the others reach in the same time, and all networks."""
    yield "| 预算 | 种子 | 毫秒 | top-1 | 同样快的窄普通网络 | 差 | 同样快的单个算子里最好的 | 差 |"
    yield "|---|---:|---:|---:|---:|---:|---|---:|"
    for made in (it for it in found if it.curve == SLIM):
        plain = reached(found, PLAIN, made)
        others = [(top1, curve) for curve in CURVES if curve != PLAIN and (top1 := reached(found, curve, made))]
        top1, best = max(others, default=(None, ""))
        cells = [f"{made.size}", f"{made.seed}", f"{made.latency_ms:.3g}", f"{made.top1:.2%}"]
        cells += [f"{plain:.2%}", f"{100 * (made.top1 - plain):+.2f}"] if plain else ["—", "—"]
        cells += [f"{best} {top1:.2%}", f"{100 * (made.top1 - top1):+.2f}"] if top1 else ["—", "—"]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "| 网络 | 宽度或预算 | 种子 | 毫秒 | top-1 |"
    yield "|---|---:|---:|---:|---:|"
    for it in found:
        yield f"| {it.curve} | {it.size} | {it.seed} | {it.latency_ms:.3g} | {it.top1:.2%} |"


def reached(found: Sequence[Trained], curve: str, made: Trained) -> float | None:
    """Top-1 of a curve at the latency of what slim made of the same seed, linear in between; None outside."""
    import numpy as np

    points = sorted((it.latency_ms, it.top1) for it in found if (it.curve, it.seed) == (curve, made.seed))
    if not points or not points[0][0] <= made.latency_ms <= points[-1][0]:
        return None
    return float(np.interp(made.latency_ms, *zip(*points, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
