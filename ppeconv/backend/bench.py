"""How long a training step takes with the fast CPU layers and with stock Paddle, measured in turns."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional

from . import disabled, enabled, onednn


@dataclasses.dataclass(frozen=True)
class Speed:
    """The median training step of one network on both backends."""

    network: str
    batch_size: int
    threads: int
    onednn_ms: float
    paddle_ms: float
    onednn_images_per_second: float
    paddle_images_per_second: float
    ratio: float


class TrainingStep:
    """One network with its optimizer and a fixed random batch; `milliseconds` times some steps."""

    def __init__(self, network: nn.Layer, image_shape: Sequence[int], batch_size: int, class_num: int):
        draw = np.random.default_rng(0)
        self._network = network
        self._images = paddle.to_tensor(draw.standard_normal((batch_size, *image_shape)).astype("float32"))
        self._labels = paddle.to_tensor(draw.integers(0, class_num, batch_size))
        self._optimizer = paddle.optimizer.Momentum(0.01, parameters=network.parameters(), weight_decay=5e-4)
        network.train()

    def __call__(self) -> float:
        """Run one step; returns the loss."""
        loss = functional.cross_entropy(self._network(self._images), self._labels)
        loss.backward()
        self._optimizer.step()
        self._optimizer.clear_grad()
        return float(loss)

    def milliseconds(self, steps: int, backend: contextlib.AbstractContextManager[None]) -> list[float]:
        """The times of some steps on a backend, after one that is not timed."""
        with backend:
            self()
            return [self._timed() for _ in range(steps)]

    def _timed(self) -> float:
        start = time.perf_counter()
        self()
        return 1000 * (time.perf_counter() - start)


def training_speed(
    name: str,
    build: Callable[[], nn.Layer],
    image_shape: Sequence[int],
    batch_size: int,
    *,
    class_num: int = 10,
    rounds: int = 5,
    steps: int = 2,
) -> Speed:
    """Medians over `rounds` x `steps` timed steps of each backend, the backends taking turns.

    Args:
        name: what the row is called.
        build: makes the network.
        image_shape: [C, H, W].
    """
    step = TrainingStep(build(), image_shape, batch_size, class_num)
    fast, stock = [], []
    for _ in range(rounds):
        fast += step.milliseconds(steps, enabled())
        stock += step.milliseconds(steps, disabled())
    ours, theirs = statistics.median(fast), statistics.median(stock)
    rates = [1000 * batch_size / it for it in (ours, theirs)]
    return Speed(name, batch_size, onednn.threads(), ours, theirs, *rates, theirs / ours)


def write_csv(rows: Iterable[Speed], path: str | Path) -> None:
    """One line per network, times with four significant digits."""
    names = [field.name for field in dataclasses.fields(Speed)]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for row in rows:
            values = dataclasses.astuple(row)
            writer.writerow([f"{it:.4g}" if isinstance(it, float) else it for it in values])
