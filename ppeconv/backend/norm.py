"""Batch normalisation of channels-last activations, with its gradients."""

from __future__ import annotations

import ctypes
import functools

import paddle
from paddle.autograd import PyLayer

from . import layout, onednn


class _Plan:
    """The primitives for one shape; with `relu`, a rectifier is part of both directions."""

    def __init__(self, shape: tuple[int, ...], epsilon: float, relu: bool):
        flags = onednn.USE_SCALE | onednn.USE_SHIFT | (onednn.FUSE_RELU if relu else 0)
        rows = onednn.channels_last(shape)
        channels = onednn.dense([shape[1]])
        epsilon = ctypes.c_float(epsilon)
        recipe = onednn.Recipe.of("batch_normalization_forward", onednn.FORWARD_TRAINING, rows, rows, epsilon, flags)
        if recipe.implementation.startswith("ref"):
            raise onednn.Unsupported("oneDNN has no fast batch normalisation for this shape")
        back = onednn.Recipe.of(
            "batch_normalization_backward", onednn.BACKWARD, rows, rows, rows, epsilon, flags, recipe
        )
        self.mask_size = recipe.size(onednn.WORKSPACE) if relu else 0
        mask = {onednn.WORKSPACE: None} if relu else {}
        statistics = {onednn.MEAN: channels, onednn.VARIANCE: channels}
        self.forward = onednn.Primitive(
            recipe,
            {onednn.SRC: rows, onednn.SCALE: channels, onednn.SHIFT: channels},
            {onednn.DST: rows, **statistics, **mask},
        )
        self.backward = onednn.Primitive(
            back,
            {onednn.SRC: rows, onednn.DIFF_DST: rows, onednn.SCALE: channels, **statistics, **mask},
            {onednn.DIFF_SRC: rows, onednn.DIFF_SCALE: channels, onednn.DIFF_SHIFT: channels},
        )


@functools.lru_cache(maxsize=1024)
def plan(shape: tuple[int, ...], epsilon: float, relu: bool, threads: int) -> _Plan | None:
    """The primitives for a shape; None where oneDNN has no fast ones."""
    try:
        return _Plan(shape, epsilon, relu)
    except onednn.Unsupported:
        return None


@functools.lru_cache(maxsize=256)
def _running_average(channels: int, momentum: float, threads: int) -> onednn.Primitive:
    """(old, new, updated): momentum * old + (1 - momentum) * new."""
    vector = onednn.dense([channels])
    weights = (ctypes.c_float * 2)(momentum, 1 - momentum)
    pointers = (ctypes.c_void_p * 2)(vector.pointer.value, vector.pointer.value)
    recipe = onednn.Recipe.of("sum", vector, 2, weights, pointers)
    inputs = {onednn.MULTIPLE_SRC: vector, onednn.MULTIPLE_SRC + 1: vector}
    return onednn.Primitive(recipe, inputs, {onednn.DST: vector})


def update_running(running: paddle.Tensor, batch: paddle.Tensor, momentum: float) -> None:
    """Blend a batch's statistics into the running ones, in place."""
    blend = _running_average(running.shape[0], momentum, onednn.threads())
    blend(running.data_ptr(), batch.data_ptr(), running.data_ptr())


class BatchNorm(PyLayer):
    """Normalisation by the batch's own statistics, which update the running ones."""

    @staticmethod
    def forward(ctx, rows, scale, shift, running, momentum, steps):
        result, mean, variance = layout.new(rows.shape), layout.new(scale.shape), layout.new(scale.shape)
        inputs, outputs = (rows, scale, shift), [result, mean, variance]
        if steps.mask_size:
            outputs.append(layout.new_bytes(steps.mask_size))
        steps.forward(*[tensor.data_ptr() for tensor in (*inputs, *outputs)])
        for old, batch in zip(running, (mean, variance), strict=True):
            update_running(old, batch, momentum)
        ctx.save_for_backward(rows, scale, *outputs[1:])
        layout.trains(scale, shift)
        ctx.steps, ctx.wanted = steps, [not tensor.stop_gradient for tensor in inputs]
        return result

    @staticmethod
    def backward(ctx, gradient):
        rows, scale, *statistics = ctx.saved_tensor()
        inputs = (rows, layout.incoming(gradient), scale, *statistics)
        outputs = [layout.new(tensor.shape) for tensor in (rows, scale, scale)]
        ctx.steps.backward(*[tensor.data_ptr() for tensor in (*inputs, *outputs)])
        return tuple(out if wanted else None for out, wanted in zip(outputs, ctx.wanted, strict=True))
