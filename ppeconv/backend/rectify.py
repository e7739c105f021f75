"""ReLU after a sum or a batch normalisation, with one backward pass for both.

The stand-in of ReLU asks how its input was made. Where that was a sum or a normalisation, the gradient skips
the tensor in between: a rectified sum hands its gradient to both terms, and a rectified normalisation masks
the gradient while it differentiates the normalisation.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

from paddle import Tensor
from paddle.autograd import PyLayer

from . import layout, norm, onednn

# Elements from which the saved memory traffic outweighs one more layer written in Python.
_WORTHWHILE = 1 << 16


def relu(original: Callable) -> Callable:
    """The larger of x and 0."""

    def stand_in(x):
        rows = layout.remembered_rows(x)
        if rows is None:
            return original(x)
        rectified = layout.origin(rows)
        if rectified is None:
            return layout.image(original(rows))
        layout.bypass(x)
        return layout.image(rectified(rows, original))

    return stand_in


def describe_sum(total: Tensor, first: Tensor, second: Tensor) -> None:
    """Remember what a sum was made of, for a ReLU that may follow."""
    if total.size >= _WORTHWHILE and not total.stop_gradient:
        layout.describe_origin(total, lambda rows, relu: _RectifiedSum.apply(first, second, rows.detach(), relu))


def describe_norm(
    result: Tensor, rows: Tensor, scale: Tensor, shift: Tensor, statistics: norm.Statistics, steps
) -> None:
    """Remember what a batch normalisation was made of, for a ReLU that may follow."""
    if result.size >= _WORTHWHILE and not result.stop_gradient:
        apply = norm.RectifiedBatchNorm.apply
        layout.describe_origin(result, lambda _rows, _relu: apply(rows, scale, shift, statistics, steps))


@functools.lru_cache(maxsize=256)
def _gradient(size: int, threads: int) -> onednn.Primitive:
    """(ReLU's result, its gradient, the gradient of its input)"""
    flat, zero = onednn.dense([size]), ctypes.c_float(0)
    kind = onednn.RELU_FROM_RESULT
    recipe = onednn.Recipe.of("eltwise_forward", onednn.FORWARD_TRAINING, kind, flat, flat, zero, zero)
    back = onednn.Recipe.of("eltwise_backward", kind, flat, flat, flat, zero, zero, recipe)
    return onednn.Primitive(back, {onednn.DST: flat, onednn.DIFF_DST: flat}, {onednn.DIFF_SRC: flat})


class _RectifiedSum(PyLayer):
    @staticmethod
    def forward(ctx, first, second, total, original):
        result = original(total)
        ctx.save_for_backward(result)
        ctx.wanted = not first.stop_gradient, not second.stop_gradient
        return result

    @staticmethod
    def backward(ctx, gradient):
        (result,) = ctx.saved_tensor()
        gradient, masked = layout.incoming(gradient), layout.new(result.shape)
        primitive = _gradient(result.size, onednn.threads())
        primitive(result.data_ptr(), gradient.data_ptr(), masked.data_ptr())
        first, second = ctx.wanted
        # Paddle may add to a gradient in place, so two terms cannot share one.
        return masked if first else None, (masked.clone() if first else masked) if second else None, None
