"""ReLU after a sum or a batch normalisation, with one backward pass for both.

The stand-in of ReLU asks how its input was made. Where that was a sum or a normalisation, the gradient skips
the tensor in between: a rectified sum hands its gradient to both terms, and a rectified normalisation masks
the gradient while it differentiates the normalisation. Where a term of the sum was normalised, as in a residual
network, the gradient skips that tensor too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from paddle import Tensor

from ppeconv.cpu.library import onednn
from ppeconv.cpu.training import flat, function, layout, norm
from ppeconv.cpu.training.fan import Layer

# Elements from which the saved memory traffic outweighs one more layer written in Python.
_WORTHWHILE = 1 << 16


def relu(original: Callable) -> Callable:
    """The larger of x and 0."""

    def stand_in(x):
        rows = layout.remembered_rows(x)
        if rows is None:
            return original(x)
        made = layout.origin(rows)
        if made is None:
            is_float = layout.data_type(rows) == onednn.FLOAT32
            return layout.image(original(rows) if is_float else function.Applied.apply(rows, flat.RELU))
        layout.bypass(rows)
        return layout.image(made.rectified(rows))

    return stand_in


class _Norm(NamedTuple):
    """What a normalisation was made of."""

    rows: Tensor
    scale: Tensor
    shift: Tensor
    table: norm.Table
    steps: norm.Plan

    def rectified(self, _result: Tensor) -> Tensor:
        return norm.RectifiedBatchNorm.apply(*self)


class _Sum(NamedTuple):
    """What a sum was made of."""

    first: Tensor
    second: Tensor

    def rectified(self, total: Tensor) -> Tensor:
        for term, other in (self, self[::-1]):
            normalisation = layout.origin(term)
            if isinstance(normalisation, _Norm):
                layout.bypass(term)
                return _RectifiedNormAndSum.apply(*normalisation, other, total.detach())
        return _RectifiedSum.apply(*self, total.detach())


def describe_sum(total: Tensor, first: Tensor, second: Tensor) -> None:
    """Remember what a sum was made of, for a ReLU that may follow."""
    _describe(total, _Sum(first, second))


def describe_norm(
    result: Tensor, rows: Tensor, scale: Tensor, shift: Tensor, table: norm.Table, steps: norm.Plan
) -> None:
    """Remember what a batch normalisation was made of, for a ReLU that may follow."""
    _describe(result, _Norm(rows, scale, shift, table, steps))


def _describe(result: Tensor, origin: _Norm | _Sum) -> None:
    if math.prod(result.shape) >= _WORTHWHILE and not result.stop_gradient:
        layout.describe_origin(result, origin)


def _masked(result: Tensor, gradient: Tensor) -> Tensor:
    return function.gradient(flat.RELU, result, layout.incoming(gradient))


class _RectifiedSum(Layer):
    """ReLU of a sum."""

    @staticmethod
    def forward(ctx, first, second, total):
        result = function.of(flat.RELU, total)
        ctx.save_for_backward(result)
        ctx.wanted = not first.stop_gradient, not second.stop_gradient
        return result

    @staticmethod
    def backward(ctx, gradient):
        (result,) = ctx.saved_tensor()
        return *layout.of_both(_masked(result, gradient), ctx.wanted), None


class _RectifiedNormAndSum(Layer):
    """ReLU of the sum of normalised rows and others."""

    @staticmethod
    def forward(ctx, rows, scale, shift, table, steps, other, total):
        result = function.of(flat.RELU, total)
        norm.remember(ctx, steps, (rows, scale, shift), table, True, result)
        ctx.wants_other = not other.stop_gradient
        return result

    @staticmethod
    def backward(ctx, gradient):
        rows, result = ctx.saved_tensor()
        masked = _masked(result, gradient)
        gradients = norm.gradients(ctx, ctx.steps.rows.backward, masked, rows)
        return *gradients, masked if ctx.wants_other else None, None
