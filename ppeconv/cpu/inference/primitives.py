"""Steps as oneDNN's primitives for a number of images."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable

from ppeconv.cpu.inference.graph import Step, Value
from ppeconv.cpu.library import onednn


def recipe(step: Step, batch: int) -> onednn.Recipe:
    """What computes a step with its posts; raises Unsupported where oneDNN has no way."""
    return _RECIPES[step.kind](step, batch)


def arguments(step: Step) -> dict[int, Value]:
    """The kind of argument as which the primitive takes each value."""
    kinds = {"convolution": _WEIGHTED, "matmul": _WEIGHTED, "binary": (onednn.SRC, onednn.SRC_1)}
    taken = dict(zip(kinds.get(step.kind, (onednn.SRC,)), step.inputs, strict=False))
    for position, post in enumerate(step.posts):
        if post.operand is not None:
            taken[onednn.post_operand(position)] = post.operand
    return taken | {onednn.DST: step.output}


_WEIGHTED = onednn.SRC, onednn.WEIGHTS, onednn.BIAS


def image_layout(value: Value, batch: int) -> onednn.Layout:
    """[N, C, H, W], channels last, and [N, C]."""
    shape = _sized(value, batch)
    return (onednn.channels_last if len(shape) == 4 else onednn.dense)(shape, value.data_type)


def flat_layout(value: Value, batch: int) -> onednn.Layout:
    """[N, pixels, C]: what elementwise primitives are fast with."""
    shape = _sized(value, batch)
    return onednn.dense([shape[0], math.prod(shape[2:]), shape[1]], value.data_type)


def stored(step: Step, argument: int, value: Value) -> onednn.Layout:
    """The layout of a constant before a primitive's wishes."""
    if argument == onednn.WEIGHTS:
        return onednn.dense(_grouped(value.shape, step.settings.get("groups", 1)))
    if argument == onednn.BIAS and step.kind == "convolution":
        return onednn.dense([math.prod(value.shape)])
    if argument == onednn.BIAS:
        return onednn.dense([1, math.prod(value.shape)])
    return (flat_layout if step.kind in ("binary", "function") else image_layout)(value, 1)


def _sized(value: Value, batch: int) -> tuple[int, ...]:
    return value.shape if value.constant is not None else value.sized(batch)


def _grouped(shape: tuple[int, ...], groups: int) -> list[int]:
    return list(shape) if groups == 1 else [groups, shape[0] // groups, *shape[1:]]


def _attributes(step: Step, batch: int, layout: Callable[[Value, int], onednn.Layout]) -> onednn.Attributes | None:
    if not step.posts:
        return None
    attributes = onednn.Attributes()
    for post in step.posts:
        if post.operand is None:
            attributes.then_apply(post.kind, post.alpha, post.beta)
        else:
            attributes.then(post.kind, layout(post.operand, batch))
    return attributes


def _convolution(step: Step, batch: int) -> onednn.Recipe:
    settings, (image, weight, *bias) = step.settings, step.inputs
    top, bottom, left, right = settings["padding"]
    window = (
        onednn.int64s(settings["stride"]),
        onednn.int64s([side - 1 for side in settings["dilation"]]),
        onednn.int64s([top, left]),
        onednn.int64s([bottom, right]),
    )
    return onednn.convolution_recipe(
        onednn.FORWARD_INFERENCE,
        image_layout(image, batch),
        onednn.Layout(_grouped(weight.shape, settings["groups"]), None, image.data_type),
        onednn.dense([weight.shape[0]]) if bias else None,
        image_layout(step.output, batch),
        window,
        _attributes(step, batch, image_layout),
    )


def _matmul(step: Step, batch: int) -> onednn.Recipe:
    x, weight, *bias = step.inputs
    return onednn.Recipe.of(
        "matmul", image_layout(x, batch), onednn.Layout(weight.shape, None, x.data_type),
        onednn.dense([1, weight.shape[1]]) if bias else None, image_layout(step.output, batch),
        attributes=_attributes(step, batch, image_layout),
    )  # fmt: skip


def _binary(step: Step, batch: int) -> onednn.Recipe:
    x, y = (flat_layout(value, batch) for value in step.inputs)
    attributes = _attributes(step, batch, flat_layout)
    return onednn.Recipe.of(
        "binary", step.settings["kind"], x, y, flat_layout(step.output, batch), attributes=attributes
    )


def _function(step: Step, batch: int) -> onednn.Recipe:
    settings, layout = step.settings, flat_layout(step.output, batch)
    numbers = [ctypes.c_float(settings[name]) for name in ("alpha", "beta")]
    attributes = _attributes(step, batch, flat_layout)
    return onednn.Recipe.of(
        "eltwise_forward", onednn.FORWARD_INFERENCE, settings["kind"], layout, layout, *numbers, attributes=attributes
    )


def _pooling(step: Step, batch: int) -> onednn.Recipe:
    settings = step.settings
    top, bottom, left, right = settings["padding"]
    return onednn.Recipe.of(
        "pooling_forward", onednn.FORWARD_INFERENCE, settings["kind"],
        image_layout(step.inputs[0], batch), image_layout(step.output, batch),
        onednn.int64s(settings["stride"]), onednn.int64s(settings["kernel"]), onednn.int64s([0, 0]),
        onednn.int64s([top, left]), onednn.int64s([bottom, right]),
        attributes=_attributes(step, batch, image_layout),
    )  # fmt: skip


def _softmax(step: Step, batch: int) -> onednn.Recipe:
    layouts = [image_layout(value, batch) for value in (*step.inputs, step.output)]
    return onednn.Recipe.of(
        "softmax_forward", onednn.FORWARD_INFERENCE, onednn.SOFTMAX_ACCURATE, *layouts, step.settings["axis"]
    )


def _resize(step: Step, batch: int) -> onednn.Recipe:
    return onednn.Recipe.of(
        "resampling_forward", onednn.FORWARD_INFERENCE, onednn.RESAMPLING_NEAREST, None,
        image_layout(step.inputs[0], batch), image_layout(step.output, batch),
        attributes=_attributes(step, batch, image_layout),
    )  # fmt: skip


_RECIPES = {
    "convolution": _convolution,
    "matmul": _matmul,
    "binary": _binary,
    "function": _function,
    "pooling": _pooling,
    "softmax": _softmax,
    "resize": _resize,
}
