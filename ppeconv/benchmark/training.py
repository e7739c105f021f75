"""How long a training step takes with the fast CPU layers and with stock Paddle."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paddle

from ppeconv import backend, counting
from ppeconv import config as configs
from ppeconv.benchmark.turns import Contestant, take_turns
from ppeconv.engine.losses import CombinedLoss
from ppeconv.engine.setup import build_model, build_optimizer, with_data_facts
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
    """Stock Paddle's time divided by the fast layers'."""


def make_step(config: str, overrides: Sequence[str], batch_size: int | None, layers: str) -> Callable[[], Any]:
    """A training step of a config's network on one fixed random batch.

    Args:
        config: file or name of the config.
        overrides: `Section.key=value`.
        batch_size: images; the config's own when None.
        layers: "onednn", or "paddle" for a process in which nothing of ppeconv touches Paddle's layers or memory.
    """
    if layers == "onednn":
        backend.select("onednn")
    settings = with_data_facts(configs.load(config, overrides))
    paddle.seed(settings.Global.seed)
    model, _ = build_model(settings)
    optimizer, step = build_optimizer(settings, model, 1000), Supervised(CombinedLoss(settings.Loss.Train))
    draw, size = np.random.default_rng(0), batch_size or settings.DataLoader.Train.sampler.batch_size
    images = paddle.to_tensor(draw.standard_normal((size, *settings.Infer.image_shape)).astype("float32"))
    labels = paddle.to_tensor(draw.integers(0, settings.Arch.class_num, (size, 1)))
    model.train()

    def run() -> None:
        step(model, images, labels, lambda loss: loss.backward())
        optimizer.step()
        optimizer.clear_grad()

    return run


def training_speed(
    config: str, overrides: Sequence[str] = (), *, batch_size: int | None = None, rounds: int = 5, times: int = 2
) -> TrainingSpeed:
    """Both ways of training a config's network, in turns, `rounds` times `times` timed steps each.

    Raises UserError where the fast layers do not work on this machine.
    """
    settings = with_data_facts(configs.load(config, overrides))
    model, _ = build_model(settings)
    counts = counting.count(model, [1, *settings.Infer.image_shape])
    task = {"config": config, "overrides": list(overrides), "batch_size": batch_size}
    contestants = {
        layers: Contestant(
            {"make": "ppeconv.benchmark.training:make_step", "arguments": {**task, "layers": layers}},
            environment={backend.MKL_VARIABLE: None},
        )
        for layers in ("onednn", "paddle")
    }
    taken = take_turns(contestants, rounds, times)
    ours, stock = (statistics.median(taken[layers]) for layers in ("onednn", "paddle"))
    size = batch_size or settings.DataLoader.Train.sampler.batch_size
    rates = 1000 * size / ours, 1000 * size / stock
    return TrainingSpeed(config, counts.params, counts.macs, size, ours, stock, *rates, stock / ours)
