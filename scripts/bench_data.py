"""How many images a second the input pipeline gives: python scripts/bench_data.py [CONFIG] [-o Section.key=value ...]

Median over the epochs, one process, this process's threads; without a config CIFAR-10's training pipeline on made-up
images of its size, so that no data set is needed.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from ppeconv import config as configs
from ppeconv.backend import keep_freed_pages
from ppeconv.data.batches import Batches, Pipeline
from ppeconv.data.datasets import Cifar10
from ppeconv.experiment.parts import Parts


def made_up(config: configs.Config) -> Batches:
    """The config's training batches, on random images."""
    rng = np.random.default_rng(0)
    dataset = Cifar10(".", "train")
    dataset.arrays = rng.integers(0, 256, (20_000, *dataset.shape), np.uint8), rng.integers(0, 10, 20_000)
    pipeline = Pipeline(Parts(config).transforms("train"))
    return Batches(dataset, pipeline, config.DataLoader.Train.sampler.batch_size, shuffle=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", help="name or file of a config, whose data are then read")
    parser.add_argument("-o", dest="overrides", nargs="+", action="extend", default=[])
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    keep_freed_pages()  # as in training
    config = configs.load(arguments.config or "resnet20_conv_cifar10", arguments.overrides)
    batches = Parts(config).filled().batches("train") if arguments.config else made_up(config)
    rates = []
    for epoch in range(arguments.epochs):
        start = time.perf_counter()
        images = sum(len(labels) for _, labels in batches.epoch(epoch))
        rates.append(images / (time.perf_counter() - start))
    print(
        f"{statistics.median(rates):,.0f} images/s (median of {len(rates)} epochs, {min(rates):,.0f} to "
        f"{max(rates):,.0f}), {os.environ['OMP_NUM_THREADS']} thread(s), {batches.num_workers} workers"
    )


if __name__ == "__main__":
    main()
