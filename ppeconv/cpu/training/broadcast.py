"""An activation times, or plus, one value per channel (and sample), with its gradients."""

from __future__ import annotations

import functools
from typing import Any

import paddle

from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.execution import Primitive
from ppeconv.cpu.library.onednn import BINARY_ADD as ADD
from ppeconv.cpu.library.onednn import BINARY_MULTIPLY as MULTIPLY
from ppeconv.cpu.training import layout, pool
from ppeconv.cpu.training.fan import Layer
from ppeconv.cpu.training.rounding import rounded


class _Plan:
    """Operations on rows of one shape, other such rows and a gate."""

    def __init__(self, shape: tuple[int, ...], samples: int, data_type: int, threads: int):
        n, h, w, c = shape
        self._full, self._gate = onednn.dense([n, h * w, c], data_type), onednn.dense([samples, 1, c])
        whole = pool.Geometry(
            (n, c, h, w), (h, w), (1, 1), (0, 0, 0, 0), False, onednn.POOLING_AVERAGE_ALL, threads, data_type
        )
        average = pool.plan(whole)
        if average is None:
            raise onednn.Unsupported("oneDNN has no fast average of this shape")
        self._average = average.forward
        self._shape, self._samples, self._data_type = shape, samples, data_type
        self._primitive = functools.cache(self._build)

    def combined(self, rows: paddle.Tensor, *chain: Any, into: paddle.Tensor | None = None) -> paddle.Tensor:
        """What a chain of operations makes of rows: `combined(x, MULTIPLY, gate, ADD, y)` is x * gate + y.

        The first operand is a gate or rows, those behind it are rows. `into` may be an operand.
        """
        operations, operands = chain[::2], chain[1::2]
        result = layout.new(rows.shape, self._data_type) if into is None else into
        primitive = self._primitive(operations, operands[0].shape != rows.shape)
        primitive(*[it.data_ptr() for it in (rows, *operands, result)])
        return result

    def _build(self, operations: tuple[int, ...], is_gated: bool) -> Primitive:
        first, *others = operations
        attributes, inputs = onednn.Attributes(), {onednn.SRC: self._full}
        inputs[onednn.SRC_1] = second = self._gate if is_gated else self._full
        for position, operation in enumerate(others):
            attributes.then(operation, self._full)
            inputs[onednn.post_operand(position)] = self._full
        recipe = onednn.Recipe.of("binary", first, self._full, second, self._full, attributes=attributes)
        return Primitive(recipe, inputs, {onednn.DST: self._full})

    def mean(self, rows: paddle.Tensor) -> paddle.Tensor:
        """The mean over all positions of each sample's channel, in float32."""
        n, _, _, c = self._shape
        mean = layout.new([n, 1, 1, c], self._data_type)
        self._average(rows.data_ptr(), mean.data_ptr())
        return rounded(mean, onednn.FLOAT32)

    def total(self, rows: paddle.Tensor) -> paddle.Tensor:
        """The sum over all positions (and over samples, where the gate is shared by them)."""
        n, h, w, _ = self._shape
        total = self.mean(rows) * float(h * w)
        return total if self._samples == n else total.sum(axis=0, keepdim=True)


@functools.lru_cache(maxsize=1024)
def plan(shape: tuple[int, ...], samples: int, data_type: int, threads: int) -> _Plan:
    """The primitives for rows of a shape and a float32 gate shared by all samples (1) or one for each."""
    return _Plan(shape, samples, data_type, threads)


class Multiply(Layer):
    """Rows times a gate."""

    @staticmethod
    def forward(ctx, rows, gate, steps):
        ctx.save_for_backward(rows, gate)
        ctx.steps, ctx.wanted = steps, (not rows.stop_gradient, not gate.stop_gradient)
        return steps.combined(rows, MULTIPLY, gate)

    @staticmethod
    def backward(ctx, gradient):
        rows, gate = ctx.saved_tensor()
        gradient, steps = layout.incoming(gradient), ctx.steps
        wants_rows, wants_gate = ctx.wanted
        return (
            steps.combined(gradient, MULTIPLY, gate) if wants_rows else None,
            steps.total(steps.combined(gradient, MULTIPLY, rows)) if wants_gate else None,
        )


class Add(Layer):
    """Rows plus a gate."""

    @staticmethod
    def forward(ctx, rows, gate, steps):
        ctx.steps, ctx.wanted = steps, (not rows.stop_gradient, not gate.stop_gradient)
        return steps.combined(rows, ADD, gate)

    @staticmethod
    def backward(ctx, gradient):
        wants_rows, wants_gate = ctx.wanted
        gradient = layout.incoming(gradient)
        return gradient if wants_rows else None, ctx.steps.total(gradient) if wants_gate else None
