"""An activation times, or plus, one value per channel (and sample), with its gradients."""

from __future__ import annotations

import functools

import paddle
from paddle.autograd import PyLayer

from . import layout, onednn, pool


class _Plan:
    def __init__(self, shape: tuple[int, ...], samples: int, threads: int):
        n, h, w, c = shape
        self._full, self._gate = onednn.dense([n, h * w, c]), onednn.dense([samples, 1, c])
        self.multiply = self._primitive(onednn.BINARY_MULTIPLY, self._gate)
        self.add = self._primitive(onednn.BINARY_ADD, self._gate)
        self.product = self._primitive(onednn.BINARY_MULTIPLY, self._full)
        whole = pool.Geometry((n, c, h, w), (h, w), (1, 1), (0, 0, 0, 0), False, onednn.POOLING_AVERAGE_ALL, threads)
        self._average = pool.plan(whole).forward
        self._shape, self._samples = shape, samples

    def _primitive(self, operation: int, second: onednn.Layout) -> onednn.Primitive:
        recipe = onednn.Recipe.of("binary", operation, self._full, second, self._full)
        inputs = {onednn.SRC: self._full, onednn.SRC_1: second}
        return onednn.Primitive(recipe, inputs, {onednn.DST: self._full})

    def total(self, rows: paddle.Tensor) -> paddle.Tensor:
        """The sum over all positions (and over samples, where the gate is shared by them)."""
        n, h, w, c = self._shape
        mean = layout.new([n, 1, 1, c])
        self._average(rows.data_ptr(), mean.data_ptr())
        total = mean * float(h * w)
        return total if self._samples == n else total.sum(axis=0, keepdim=True)


@functools.lru_cache(maxsize=1024)
def plan(shape: tuple[int, ...], samples: int, threads: int) -> _Plan:
    """The primitives for rows of a shape and a gate shared by all samples (1) or one for each."""
    return _Plan(shape, samples, threads)


def _applied(primitive: onednn.Primitive, first: paddle.Tensor, second: paddle.Tensor) -> paddle.Tensor:
    result = layout.new(first.shape)
    primitive(first.data_ptr(), second.data_ptr(), result.data_ptr())
    return result


class Multiply(PyLayer):
    """Rows times a gate."""

    @staticmethod
    def forward(ctx, rows, gate, steps):
        ctx.save_for_backward(rows, gate)
        ctx.steps, ctx.wanted = steps, (not rows.stop_gradient, not gate.stop_gradient)
        return _applied(steps.multiply, rows, gate)

    @staticmethod
    def backward(ctx, gradient):
        rows, gate = ctx.saved_tensor()
        gradient, steps = layout.incoming(gradient), ctx.steps
        wants_rows, wants_gate = ctx.wanted
        return (
            _applied(steps.multiply, gradient, gate) if wants_rows else None,
            steps.total(_applied(steps.product, gradient, rows)) if wants_gate else None,
        )


class Add(PyLayer):
    """Rows plus a gate."""

    @staticmethod
    def forward(ctx, rows, gate, steps):
        ctx.steps, ctx.wanted = steps, (not rows.stop_gradient, not gate.stop_gradient)
        return _applied(steps.add, rows, gate)

    @staticmethod
    def backward(ctx, gradient):
        wants_rows, wants_gate = ctx.wanted
        gradient = layout.incoming(gradient)
        return gradient if wants_rows else None, ctx.steps.total(gradient) if wants_gate else None
