"""How long training steps take with the fast CPU layers and with stock Paddle."""

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
from ppeconv.engine.losses import CombinedLoss
from ppeconv.engine.precision import Precision
from ppeconv.engine.step import Supervised


@dataclasses.dataclass(frozen=True)
class TrainingSpeed:
    """Medians of one network's training step: forward, backward, update."""

    config: str
    params: int
    macs: int
    mac_ratio: float
    """MACs divided by those of the first network."""
    batch_size: int
    onednn_ms: float
    paddle_ms: float | None
    """None where stock Paddle was not measured."""
    onednn_images_per_second: float
    paddle_images_per_second: float | None
    ratio: float | None
    """How many times as long stock Paddle takes; see `ppeconv.benchmark.turns.time_ratio`."""
    time_ratio: float
    """To the first network with the fast layers, for an image."""


@dataclasses.dataclass(frozen=True)
class Trainee:
    """A network whose training step is measured.

    Args:
        name: the config's.
        counts: of the network.
        batch_size: images.
        make: "module:function" that returns a training step in a process of its own, given `arguments`, the batch size
            and "onednn", or "paddle" where nothing of ppeconv may touch Paddle's layers or memory, as `layers`.
        arguments: for that.
    """

    name: str
    counts: Counts
    batch_size: int
    make: str
    arguments: Mapping[str, Any]

    def contestant(self, layers: str) -> Contestant:
        """The process that trains it."""
        arguments = {**self.arguments, "batch_size": self.batch_size, "layers": layers}
        return Contestant({"make": self.make, "arguments": arguments}, environment={backend.MKL_VARIABLE: None})


def training_step(
    model: nn.Layer,
    optimizer: Optimizer,
    loss: CombinedLoss,
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


def training_speed(networks: Sequence[Trainee], *, stock: bool, rounds: int, times: int) -> list[TrainingSpeed]:
    """Networks trained in turns, `rounds` times `times` timed steps each.

    Each is measured beside the first one, so that there are never more than three processes, however many there are.

    Args:
        networks: the ratios are to the first.
        stock: measure stock Paddle too.
        rounds, times: turns of each, and timed steps in a turn.

    Raises UserError where the fast layers do not work on this machine.
    """
    return [_beside(networks[0], network, stock, rounds, times) for network in networks]


def _beside(first: Trainee, network: Trainee, stock: bool, rounds: int, times: int) -> TrainingSpeed:
    contestants = {"onednn": network.contestant("onednn")}
    if network is not first:
        contestants["first"] = first.contestant("onednn")
    if stock:
        contestants["paddle"] = network.contestant("paddle")
    taken = take_turns(contestants, rounds, times)
    milliseconds = {name: median_ms(turns) for name, turns in taken.items()}
    rates = {name: 1000 * network.batch_size / value for name, value in milliseconds.items()}
    return TrainingSpeed(
        network.name,
        network.counts.params,
        network.counts.macs,
        network.counts.macs / first.counts.macs,
        network.batch_size,
        milliseconds["onednn"],
        milliseconds.get("paddle"),
        rates["onednn"],
        rates.get("paddle"),
        time_ratio(taken["paddle"], taken["onednn"]) if stock else None,
        time_ratio(taken["onednn"], taken.get("first", taken["onednn"])) * first.batch_size / network.batch_size,
    )
