"""Training steps with the fast CPU layers, stock Paddle and PyTorch, taking turns; see bench_vs_torch.sh."""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
from pathlib import Path

NETWORKS = {
    "ResNet18": (64, [3, 32, 32], {"stem": "cifar"}),
    "MobileNetV2": (64, [3, 32, 32], {"stem": "cifar"}),
    "ResNet20": (128, [3, 32, 32], {}),
    "LeNet": (128, [1, 28, 28], {}),
    "SPConv-ResNet18": (64, [3, 32, 32], {"stem": "cifar", "operator": "SPConv"}),
}
COLUMNS = ("onednn", "paddle", "torch", "torch_channels_last")


class TorchProcess:
    """The PyTorch side, answering one line per request."""

    def __init__(self, python: str, threads: int):
        script = Path(__file__).with_name("torch_steps.py")
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def milliseconds(self, network: str, batch: int, layout: str, steps: int) -> list[float]:
        """The times of some training steps after one that is not timed."""
        self._process.stdin.write(f"{network} {batch} {layout} {steps}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit("the PyTorch process ended; is torch installed in that Python?")
        return [float(it) for it in answer.split()]

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()


def measure(name: str, torch_side: TorchProcess, rounds: int, steps: int) -> dict[str, float]:
    """Median milliseconds of each contestant."""
    import ppeconv
    from ppeconv import backend
    from ppeconv.backend.bench import TrainingStep

    batch, shape, arguments = NETWORKS[name]
    network = ppeconv.create_model(name.removeprefix("SPConv-"), class_num=10, **arguments)
    step = TrainingStep(network, shape, batch, 10)
    times = {column: [] for column in COLUMNS}
    for _ in range(rounds):
        times["onednn"] += step.milliseconds(steps, backend.enabled())
        times["torch"] += torch_side.milliseconds(name, batch, "default", steps)
        times["torch_channels_last"] += torch_side.milliseconds(name, batch, "channels_last", steps)
        times["paddle"] += step.milliseconds(steps, backend.disabled())
    return {column: statistics.median(values) for column, values in times.items()}


def row(name: str, threads: int, medians: dict[str, float]) -> dict[str, object]:
    """A line of the table: milliseconds, and how many times faster than each other contestant."""
    batch, ours = NETWORKS[name][0], medians["onednn"]
    line = {"network": name, "batch": batch, "threads": threads}
    line |= {f"{column}_ms": f"{value:.1f}" for column, value in medians.items()}
    line["images_per_second"] = f"{1000 * batch / ours:.0f}"
    return line | {f"vs_{column}": f"{medians[column] / ours:.2f}" for column in COLUMNS[1:]}


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
    torch_side = TorchProcess(options.torch_python, options.threads)
    lines = []
    for name in options.networks:
        lines.append(row(name, options.threads, measure(name, torch_side, options.rounds, options.steps)))
        print("  ".join(f"{key}={value}" for key, value in lines[-1].items()), flush=True)
    torch_side.close()
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)


if __name__ == "__main__":
    main()
