"""Batch normalisation of channels-last activations, with its gradients."""

from __future__ import annotations

import ctypes
import functools

import paddle
from paddle.autograd import PyLayer

from . import layout, onednn


class _Plan:
    """The primitives for one shape, those with a ReLU built when first needed."""

    def __init__(self, shape: tuple[int, ...], epsilon: float):
        self._rows, self._channels = onednn.channels_last(shape), onednn.dense([shape[1]])
        # Channels that do not fill vectors of 8 are slow in channels-last, by more than the conversion costs.
        self._inside = onednn.channel_blocks(shape) if shape[1] % 8 else self._rows
        self._epsilon = ctypes.c_float(epsilon)
        recipe = self._forward_recipe(0)
        if recipe.implementation.startswith("ref"):
            raise onednn.Unsupported("oneDNN has no fast batch normalisation for this shape")
        self._statistics = {onednn.MEAN: self._channels, onednn.VARIANCE: self._channels}
        self._parameters = {onednn.SCALE: self._channels, onednn.SHIFT: self._channels}
        self.forward = onednn.Primitive(
            recipe, {onednn.SRC: self._rows, **self._parameters}, {onednn.DST: self._rows, **self._statistics}
        )
        self.backward = self._backward(recipe, 0, {})
        self.mask_size = 0

    @functools.cached_property
    def rectified(self) -> onednn.Primitive:
        """(rows, scale, shift, mean, variance, result, mask): normalised by given statistics, then ReLU."""
        recipe = self._forward_recipe(onednn.FUSE_RELU | onednn.GLOBAL_STATISTICS)
        self.mask_size = recipe.size(onednn.WORKSPACE)
        inputs = {onednn.SRC: self._rows, **self._parameters, **self._statistics}
        return onednn.Primitive(recipe, inputs, {onednn.DST: self._rows, onednn.WORKSPACE: None})

    @functools.cached_property
    def masked_backward(self) -> onednn.Primitive:
        """(rows, gradient, scale, mean, variance, mask, gradients of rows, scale and shift)"""
        recipe = self._forward_recipe(onednn.FUSE_RELU)
        return self._backward(recipe, onednn.FUSE_RELU, {onednn.WORKSPACE: None})

    def _forward_recipe(self, flags: int) -> onednn.Recipe:
        flags |= onednn.USE_SCALE | onednn.USE_SHIFT
        arguments = onednn.FORWARD_TRAINING, self._inside, self._inside, self._epsilon, flags
        return onednn.Recipe.of("batch_normalization_forward", *arguments)

    def _backward(self, forward: onednn.Recipe, flags: int, mask: dict[int, None]) -> onednn.Primitive:
        flags |= onednn.USE_SCALE | onednn.USE_SHIFT
        arguments = onednn.BACKWARD, self._inside, self._inside, self._inside, self._epsilon, flags, forward
        recipe = onednn.Recipe.of("batch_normalization_backward", *arguments)
        inputs = {onednn.SRC: self._rows, onednn.DIFF_DST: self._rows, onednn.SCALE: self._channels}
        gradients = {onednn.DIFF_SCALE: self._channels, onednn.DIFF_SHIFT: self._channels}
        return onednn.Primitive(
            recipe, {**inputs, **self._statistics, **mask}, {onednn.DIFF_SRC: self._rows, **gradients}
        )


@functools.lru_cache(maxsize=1024)
def plan(shape: tuple[int, ...], epsilon: float, threads: int) -> _Plan | None:
    """The primitives for a shape; None where oneDNN has no fast ones."""
    try:
        return _Plan(shape, epsilon)
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


class Statistics:
    """Mean and variance of one batch; an object, as Paddle would differentiate tensors in a tuple."""

    def __init__(self, channels: int):
        self.tensors = layout.new([channels]), layout.new([channels])


class BatchNorm(PyLayer):
    """Normalisation by the batch's own statistics, which update the running ones and fill `statistics`."""

    @staticmethod
    def forward(ctx, rows, scale, shift, running, momentum, statistics, steps):
        result = layout.new(rows.shape)
        steps.forward(*[tensor.data_ptr() for tensor in (rows, scale, shift, result, *statistics.tensors)])
        for old, batch in zip(running, statistics.tensors, strict=True):
            update_running(old, batch, momentum)
        _remember(ctx, rows, scale, shift, *statistics.tensors)
        ctx.backward_steps = steps.backward
        return result

    @staticmethod
    def backward(ctx, gradient):
        return _gradients(ctx, gradient)


class RectifiedBatchNorm(PyLayer):
    """ReLU of rows normalised by given statistics of their own, differentiated through the statistics."""

    @staticmethod
    def forward(ctx, rows, scale, shift, statistics, steps):
        run = steps.rectified
        result, mask = layout.new(rows.shape), layout.new_bytes(steps.mask_size)
        run(*[tensor.data_ptr() for tensor in (rows, scale, shift, *statistics.tensors, result, mask)])
        _remember(ctx, rows, scale, shift, *statistics.tensors, mask)
        ctx.backward_steps = steps.masked_backward
        return result

    @staticmethod
    def backward(ctx, gradient):
        return _gradients(ctx, gradient)


def _remember(ctx, rows, scale, shift, *others) -> None:
    """Keep what the gradients need."""
    layout.trains(scale, shift)
    ctx.save_for_backward(rows, scale, *others)
    ctx.wanted = [not tensor.stop_gradient for tensor in (rows, scale, shift)]


def _gradients(ctx, gradient):
    """The gradients of rows, scale and shift, where wanted."""
    rows, scale, *others = ctx.saved_tensor()
    inputs = (rows, layout.incoming(gradient), scale, *others)
    outputs = [layout.new(tensor.shape) for tensor in (rows, scale, scale)]
    ctx.backward_steps(*[tensor.data_ptr() for tensor in (*inputs, *outputs)])
    return tuple(out if wanted else None for out, wanted in zip(outputs, ctx.wanted, strict=True))
