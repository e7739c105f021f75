"""Which inference form of each operator is the fastest, measured layer by layer on the runtime that will run it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppeconv import observe
from ppeconv.anywidth import narrow
from ppeconv.deployment.export import export
from ppeconv.deployment.latency import median_ms
from ppeconv.deployment.rewrite import rewritable
from ppeconv.deployment.runtimes import open_runtime
from ppeconv.operators.base import ConvOperator


@dataclass(frozen=True)
class Tuned:
    """Layers of one geometry and input size, and what their forms take."""

    operator: ConvOperator
    input_shape: tuple[int, ...]
    """[C, H, W]"""
    layers: list[str]
    """Their names in the network."""
    milliseconds: dict[str, float]
    """Form -> median time of one call."""

    @property
    def kept(self) -> str:
        """The fastest form."""
        return min(self.milliseconds, key=self.milliseconds.__getitem__)

    def __str__(self) -> str:
        height, width = self.input_shape[1:]
        times = ", ".join(f"{form} {value:.3f} ms" for form, value in self.milliseconds.items())
        where = f"{type(self.operator).__name__} {self.operator.geometry} on {height}x{width}"
        return f"{where}: {times}; {self.kept} kept for {', '.join(self.layers)}"


def tune(
    model: nn.Layer, input_shape: Sequence[int], runtime: str = "paddle", batch: int = 1, threads: int = 1
) -> list[Tuned]:
    """Measure the inference forms of every operator that has several, each distinct layer and input size once.

    A layer is exported alone with each of its forms, batch norm and ReLU behind it, between two 1x1 convolutions, with
    which it exchanges its channels in the memory layout that the runtime prefers, as in a network.

    Args:
        model: the network; it stays as it was.
        input_shape: [C, H, W] of an image.
        runtime: the name of one.
        batch, threads: of the measurement.
    """
    return [
        Tuned(operator, shape, names, _milliseconds(operator, shape, runtime, batch, threads))
        for operator, shape, names in _distinct(narrow(model), input_shape)
    ]


def forms_of(tuned: Iterable[Tuned]) -> dict[str, str]:
    """Layer -> the form kept for it, as `deploy` and `export` take it."""
    return {layer: row.kept for row in tuned for layer in row.layers}


def _distinct(model: nn.Layer, input_shape: Sequence[int]) -> list[tuple[ConvOperator, tuple[int, ...], list[str]]]:
    """Operators with several forms, the size of their input, and the names of all layers that are like them."""
    operators = {name: layer for name, layer in rewritable(model).items() if len(layer.forms) > 1}
    shapes: dict[int, tuple[int, ...]] = {}

    def entered(layer: nn.Layer, inputs: tuple[Any, ...]) -> None:
        shapes[id(layer)] = tuple(inputs[0].shape[1:])

    hooks = [layer.register_forward_pre_hook(entered) for layer in operators.values()]
    try:
        with observe.stock(model), paddle.no_grad():
            model(paddle.zeros([1, *input_shape]))
    finally:
        for hook in hooks:
            hook.remove()
    found: dict[tuple[str, tuple[int, ...]], tuple[ConvOperator, tuple[int, ...], list[str]]] = {}
    for name, operator in operators.items():
        if (shape := shapes.get(id(operator))) is not None:
            _, _, names = found.setdefault((repr(operator), shape), (operator, shape, []))
            names.append(name)
    return list(found.values())


def _milliseconds(
    operator: ConvOperator, shape: tuple[int, ...], runtime: str, batch: int, threads: int
) -> dict[str, float]:
    inputs, outputs = operator.geometry.in_channels, operator.geometry.out_channels
    host = nn.BatchNorm2D(outputs), nn.ReLU()
    network = nn.Sequential(nn.Conv2D(inputs, inputs, 1), operator, *host, nn.Conv2D(outputs, outputs, 1))
    images = np.random.default_rng(0).standard_normal((batch, *shape), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        runtimes = {}
        for form in operator.forms:
            place = Path(folder) / form
            export(network, place, shape, forms={"1": form}, to=runtime, calibration=[images])
            runtimes[form] = open_runtime(place, runtime, threads)
        return median_ms(runtimes, images)
