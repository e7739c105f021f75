"""How long single layers take on a runtime, measured side by side in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import paddle
from paddle import nn

from ppeconv import observe
from ppeconv.deployment.export import export
from ppeconv.deployment.latency import median_ms
from ppeconv.deployment.runtimes import open_runtime

Key = TypeVar("Key")


def alone(
    layers: Mapping[Key, nn.Layer],
    input_shape: tuple[int, ...],
    runtime: str,
    batch: int,
    threads: int,
    forms: Mapping[Key, str] | None = None,
) -> dict[Key, float]:
    """Median milliseconds of a call of each layer.

    A layer is exported alone, batch norm and ReLU behind it, between two 1x1 convolutions, with which it exchanges its
    channels in the memory layout that the runtime prefers, as in a network; these take their part of the time, too.

    Args:
        layers: [N, C, H, W] -> [N, C', H', W'] each.
        input_shape: [C, H, W].
        runtime: the name of one.
        batch, threads: of the measurement.
        forms: inference forms of layers that are operators; see `export`.

    Raises:
        UserError: the runtime cannot have one of them.
    """
    images = np.random.default_rng(0).standard_normal((batch, *input_shape), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        runtimes = {}
        for number, (key, layer) in enumerate(layers.items()):
            place = Path(folder) / str(number)
            form = {"1": forms[key]} if forms else None
            export(_hosted(layer, input_shape), place, input_shape, forms=form, to=runtime, calibration=[images])
            runtimes[key] = open_runtime(place, runtime, threads)
        return median_ms(runtimes, images)


def _hosted(layer: nn.Layer, input_shape: tuple[int, ...]) -> nn.Layer:
    with observe.stock(layer), paddle.no_grad():
        outputs = layer(paddle.zeros([1, *input_shape])).shape[1]
    inputs = input_shape[0]
    host = nn.BatchNorm2D(outputs), nn.ReLU()
    return nn.Sequential(nn.Conv2D(inputs, inputs, 1), layer, *host, nn.Conv2D(outputs, outputs, 1))
