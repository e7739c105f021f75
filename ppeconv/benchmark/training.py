"""How long a training step takes with the fast CPU layers and with stock Paddle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.optimizer import Optimizer

from ppeconv import backend
from ppeconv.benchmark.turns import Contestant, median_ms, take_turns, time_ratio
from ppeconv.counting import Counts
from ppeconv.engine.precision import Precision
from ppeconv.engine.step import Supervised


@dataclasses.dataclass(frozen=True)
class TrainingSpeed:
    """Medians of one network's training step: forward, backward, update."""

    config: str
    params: int
    macs: int
    batch_size: int
    onednn_ms: float
    paddle_ms: float
    onednn_images_per_second: float
    paddle_images_per_second: float
    ratio: float
    """How many times as long stock Paddle takes; see `ppeconv.benchmark.turns.time_ratio`."""


def training_step(
    model: nn.Layer,
    optimizer: Optimizer,
    loss: nn.Layer,
    image_shape: Sequence[int],
    class_num: int,
    batch_size: int,
    precision: Precision,
) -> Callable[[], None]:
    """A training step of a network on one fixed random batch."""
    draw, step = np.random.default_rng(0), Supervised(loss)
    images = paddle.to_tensor(draw.standard_normal((batch_size, *image_shape)).astype("float32"))
    labels = paddle.to_tensor(draw.integers(0, class_num, (batch_size, 1)))
    model.train()

    def run() -> None:
        with precision.cast():
            step(model, images, labels, lambda loss: precision.scaled(loss).backward())
        precision.update(optimizer)
        optimizer.clear_grad()

    return run


def training_speed(
    name: str, counts: Counts, make: str, arguments: Mapping[str, Any], *, batch_size: int, rounds: int, times: int
) -> TrainingSpeed:
    """Both ways of training a network, in turns, `rounds` times `times` timed steps each.

    Args:
        name: the config's.
        counts: the network's.
        make: "module:function" that returns a training step in a process of its own, given `arguments`, the batch size
            and "onednn", or "paddle" where nothing of ppeconv may touch Paddle's layers or memory, as `layers`.
        batch_size: images.

    Raises UserError where the fast layers do not work on this machine.
    """
    task = {**arguments, "batch_size": batch_size}
    contestants = {
        layers: Contestant(
            {"make": make, "arguments": {**task, "layers": layers}},
            environment={backend.MKL_VARIABLE: None},
        )
        for layers in ("onednn", "paddle")
    }
    taken = take_turns(contestants, rounds, times)
    ours, stock = (median_ms(taken[layers]) for layers in ("onednn", "paddle"))
    rates = 1000 * batch_size / ours, 1000 * batch_size / stock
    return TrainingSpeed(
        name, counts.params, counts.macs, batch_size, ours, stock, *rates, time_ratio(taken["paddle"], taken["onednn"])
    )
