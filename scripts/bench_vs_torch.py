"""Training steps with the fast CPU layers, stock Paddle and PyTorch, taking turns; see bench_vs_torch.sh."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Mapping
from pathlib import Path

from ppeconv import backend
from ppeconv.benchmark.turns import Contestant, Turns, median_ms, take_turns, time_ratio
from ppeconv.experiment.speed import trainee

NETWORKS = {
    "ResNet18": (64, "resnet18_conv_cifar10"),
    "MobileNetV2": (64, "mobilenetv2_conv_cifar10"),
    "ResNet20": (128, "resnet20_conv_cifar10"),
    "LeNet": (128, "lenet_conv_digits"),
    "SPConv-ResNet18": (64, "resnet18_spconv_cifar10"),
}
RECIPE = ["Optimizer={name: Momentum, momentum: 0.9, lr: {name: Constant, learning_rate: 0.01}}"]


def contestants(network: str, torch_python: str) -> dict[str, Contestant]:
    """The same network four times, and twice more in bf16 on a CPU that has it."""
    batch, config = NETWORKS[network]
    float32 = trainee(config, RECIPE, batch)
    all_of_them = {name: float32.contestant(name) for name in ("onednn", "paddle")}
    theirs = {"torch_default": "default", "torch_channels_last": "channels_last"}
    if backend.lack_of_bf16() is None:
        all_of_them["onednn_bf16"] = trainee(config, [*RECIPE, "AMP.use_amp=true"], batch).contestant("onednn")
        theirs["torch_bf16"] = "channels_last_bf16"
    command = [torch_python, str(Path(__file__).with_name("torch_steps.py"))]
    for name, layout in theirs.items():
        task = {"network": network, "parameters": float32.counts.params, "batch": batch, "layout": layout}
        all_of_them[name] = Contestant(task, command, {backend.MKL_VARIABLE: None, "PYTHONPATH": None})
    return all_of_them


def row(network: str, threads: int, taken: Mapping[str, Turns]) -> dict[str, object]:
    """A line of the table: milliseconds, and how many times faster than each other contestant."""
    batch, ours = NETWORKS[network][0], taken["onednn"]
    line = {"network": network, "batch": batch, "threads": threads}
    line |= {f"{name}_ms": f"{median_ms(turns):.1f}" for name, turns in taken.items()}
    line["images_per_second"] = f"{1000 * batch / median_ms(ours):.0f}"
    line |= {f"vs_{name}": f"{time_ratio(turns, ours):.2f}" for name, turns in taken.items() if turns is not ours}
    if "onednn_bf16" in taken:
        line["bf16_vs_torch_bf16"] = f"{time_ratio(taken['torch_bf16'], taken['onednn_bf16']):.2f}"
    return line


def main() -> None:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("torch_python", help="a Python interpreter that has PyTorch")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv", metavar="FILE")
    options = parser.parse_args()
    # Paddle reads it when it is imported, and sets it to 1 where it is missing.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    lines = []
    for network in options.networks:
        taken = take_turns(contestants(network, options.torch_python), options.rounds, options.steps)
        lines.append(row(network, options.threads, taken))
        print("  ".join(f"{key}={value}" for key, value in lines[-1].items()), flush=True)
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)


if __name__ == "__main__":
    main()
