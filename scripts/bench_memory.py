"""Does a long run stay as small and as fast as it began?  python scripts/bench_memory.py [-c CONFIG] [--steps 1000]

Trains as tools/train.py does, with evaluation, checkpoints and VisualDL records, and prints for every tenth of the run
the median time of a step and the resident memory at its end.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import paddle

from ppeconv import config as configs
from ppeconv.engine.listener import Listener, StepRecord
from ppeconv.engine.resume import paddle_threads
from ppeconv.engine.setup import select_backend, select_device
from ppeconv.engine.trainer import Trainer
from ppeconv.experiment import Experiment


class Watch(Listener):
    """Notes the time of every step and the memory after it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.resident: list[float] = []
        self.before = 0.0

    def step_done(self, trainer: Trainer, record: StepRecord) -> None:
        now = trainer.progress.seconds
        self.seconds.append(now - self.before if record.batch > 1 else now)
        self.resident.append(resident_memory())
        self.before = now


def resident_memory() -> float:
    """MiB of this process that are in memory; Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def watched_run(name: str, steps: int, overrides: list[str]) -> Watch:
    """Train a config for so many steps."""
    with tempfile.TemporaryDirectory() as folder:
        limits = [f"Global.output_dir={folder}", f"Global.epochs={steps}", f"Global.max_steps={steps}"]
        experiment, watch = Experiment(name, [*overrides, *limits]), Watch()
        parts, run = experiment.parts.filled(), experiment.run
        settings = parts.config.Global
        device = select_device(settings.device)
        select_backend(settings.cpu_backend, device)
        paddle.seed(settings.seed)
        batches = [parts.batches(split) for split in ("train", "test")]
        trainer = parts.trainer(run, parts.model()[0], *batches, parts.precision(device))
        trainer.listeners.append(watch)
        with run.lock() as lock:
            run.open(configs.dump(parts.config), lock, clear=True)
            trainer.fit()
    return watch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="lenet_spconv_digits")
    parser.add_argument("-o", "--override", nargs="+", default=[])
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    watch = watched_run(arguments.config, arguments.steps, arguments.override)
    print(f"{arguments.config}, {paddle_threads()} threads, Paddle {paddle.__version__}")
    print("| steps | step, ms | resident, MiB |\n|---|---|---|")
    for part in np.array_split(np.arange(arguments.steps), 10):
        milliseconds = 1000 * np.median(np.take(watch.seconds, part))
        print(f"| {part[0] + 1}-{part[-1] + 1} | {milliseconds:.2f} | {watch.resident[part[-1]]:.1f} |")


if __name__ == "__main__":
    main()
