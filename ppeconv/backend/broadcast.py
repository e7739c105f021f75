"""An activation times, or plus, one value per channel (and sample), with its gradients."""

from __future__ import annotations

import functools

import paddle
from paddle.autograd import PyLayer

from . import layout, onednn, pool


class _Plan:
    """Primitives that take rows, a gate and other rows in the order of their names, then the result."""

    def __init__(self, shape: tuple[int, ...], samples: int, threads: int):
        n, h, w, c = shape
        self._full, self._gate = onednn.dense([n, h * w, c]), onednn.dense([samples, 1, c])
        whole = pool.Geometry((n, c, h, w), (h, w), (1, 1), (0, 0, 0, 0), False, onednn.POOLING_AVERAGE_ALL, threads)
        self._average = pool.plan(whole).forward
        self._shape, self._samples = shape, samples

    @functools.cached_property
    def multiply(self) -> onednn.Primitive:
        """rows * gate"""
        return self._primitive(onednn.BINARY_MULTIPLY, self._gate)

    @functools.cached_property
    def multiply_and_add(self) -> onednn.Primitive:
        """rows * gate + others"""
        return self._primitive(onednn.BINARY_MULTIPLY, self._gate, onednn.BINARY_ADD)

    @functools.cached_property
    def add(self) -> onednn.Primitive:
        """rows + gate"""
        return self._primitive(onednn.BINARY_ADD, self._gate)

    @functools.cached_property
    def product(self) -> onednn.Primitive:
        """rows * others"""
        return self._primitive(onednn.BINARY_MULTIPLY, self._full)

    @functools.cached_property
    def subtract(self) -> onednn.Primitive:
        """rows - others"""
        return self._primitive(onednn.BINARY_SUB, self._full)

    @functools.cached_property
    def subtract_and_multiply(self) -> onednn.Primitive:
        """(rows - others) * still others"""
        return self._primitive(onednn.BINARY_SUB, self._full, onednn.BINARY_MULTIPLY)

    def _primitive(self, operation: int, second: onednn.Layout, then: int | None = None) -> onednn.Primitive:
        attributes, inputs = onednn.Attributes(), {onednn.SRC: self._full, onednn.SRC_1: second}
        if then is not None:
            attributes.then(then, self._full)
            inputs[onednn.post_operand(0)] = self._full
        recipe = onednn.Recipe.of("binary", operation, self._full, second, self._full, attributes=attributes)
        return onednn.Primitive(recipe, inputs, {onednn.DST: self._full})

    def mean(self, rows: paddle.Tensor) -> paddle.Tensor:
        """The mean over all positions of each sample's channel."""
        n, _, _, c = self._shape
        mean = layout.new([n, 1, 1, c])
        self._average(rows.data_ptr(), mean.data_ptr())
        return mean

    def total(self, rows: paddle.Tensor) -> paddle.Tensor:
        """The sum over all positions (and over samples, where the gate is shared by them)."""
        n, h, w, _ = self._shape
        total = self.mean(rows) * float(h * w)
        return total if self._samples == n else total.sum(axis=0, keepdim=True)


@functools.lru_cache(maxsize=1024)
def plan(shape: tuple[int, ...], samples: int, threads: int) -> _Plan:
    """The primitives for rows of a shape and a gate shared by all samples (1) or one for each."""
    return _Plan(shape, samples, threads)


def applied(primitive: onednn.Primitive, *operands: paddle.Tensor) -> paddle.Tensor:
    """A primitive's result in the shape of its first operand."""
    result = layout.new(operands[0].shape)
    primitive(*[it.data_ptr() for it in operands], result.data_ptr())
    return result


class Multiply(PyLayer):
    """Rows times a gate."""

    @staticmethod
    def forward(ctx, rows, gate, steps):
        ctx.save_for_backward(rows, gate)
        ctx.steps, ctx.wanted = steps, (not rows.stop_gradient, not gate.stop_gradient)
        return applied(steps.multiply, rows, gate)

    @staticmethod
    def backward(ctx, gradient):
        rows, gate = ctx.saved_tensor()
        gradient, steps = layout.incoming(gradient), ctx.steps
        wants_rows, wants_gate = ctx.wanted
        return (
            applied(steps.multiply, gradient, gate) if wants_rows else None,
            steps.total(applied(steps.product, gradient, rows)) if wants_gate else None,
        )


class Add(PyLayer):
    """Rows plus a gate."""

    @staticmethod
    def forward(ctx, rows, gate, steps):
        ctx.steps, ctx.wanted = steps, (not rows.stop_gradient, not gate.stop_gradient)
        return applied(steps.add, rows, gate)

    @staticmethod
    def backward(ctx, gradient):
        wants_rows, wants_gate = ctx.wanted
        gradient = layout.incoming(gradient)
        return gradient if wants_rows else None, ctx.steps.total(gradient) if wants_gate else None
