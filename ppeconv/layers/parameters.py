"""The parameters of layers, without the statistics that Paddle counts among them."""

from __future__ import annotations

import math

import paddle
from paddle import nn

NORMS = (nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D, nn.SyncBatchNorm)
"""Layers whose `_mean` and `_variance` are statistics, not parameters."""


def parameter_count(layer: nn.Layer) -> int:
    """Trainable parameters of a layer and all below it; frozen ones count, batch-norm statistics do not."""
    parameters = {id(p): p for sub in layer.sublayers(include_self=True) for p in own_parameters(sub).values()}
    return sum(math.prod(p.shape) for p in parameters.values())


def float_type(model: nn.Layer) -> paddle.dtype:
    """The number format of a network's images: that of its parameters."""
    kinds = (value.dtype for value in model.parameters() if value.is_floating_point())
    return next(kinds, paddle.get_default_dtype())


def own_parameters(layer: nn.Layer) -> dict[str, paddle.Tensor]:
    """The parameters of a layer itself that training changes, by their names in it."""
    statistics = ("_mean", "_variance") if isinstance(layer, NORMS) else ()
    return {name: p for name, p in layer._parameters.items() if p is not None and name not in statistics}
