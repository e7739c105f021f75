"""Element-by-element operators that leave an activation channels-last.

Paddle's own operators are fast on contiguous tensors of one shape, so they are applied to the rows.
Its broadcasting is not, so one value per channel is multiplied or added by oneDNN.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

import paddle
from paddle import Tensor, _C_ops

from ppeconv.cpu.library import onednn, openmp
from ppeconv.cpu.training import broadcast, flat, function, layout, rectify
from ppeconv.cpu.training.fan import Layer
from ppeconv.cpu.training.rounding import alike, float_rows

UNARY = (
    "relu6", "leaky_relu", "hardswish", "hardsigmoid", "hardtanh", "swish", "silu", "sigmoid",
    "tanh", "elu", "mish", "scale", "abs", "square", "sqrt", "exp",
)  # fmt: skip
_WITHOUT_SETTINGS = "relu", "relu6", "sigmoid", "tanh", "swish"


def unary(original: Callable, in_bf16: flat.Function | None = None) -> Callable:
    """The operator of one activation, in float32 unless it is known as a function of bfloat16."""

    def operator(x, *arguments):
        rows = layout.remembered_rows(x)
        if rows is None:
            return original(x, *arguments)
        if in_bf16 and not arguments and layout.data_type(rows) == onednn.BFLOAT16:
            return layout.image(function.Applied.apply(rows, in_bf16))
        return layout.image(original(float_rows(rows), *arguments))

    return operator


def appended(original: Callable) -> Callable:
    """The activation that a layer names, such as `nn.BatchNorm(8, act="relu")`.

    Paddle has old operators for it, which mixed precision converts nothing for.
    """

    def operator(x, act=None, *arguments, **named):
        if layout.remembered_rows(x) is None or act is None:
            return original(x, act, *arguments, **named)
        if act in _WITHOUT_SETTINGS:
            return getattr(_C_ops, act)(x)
        return original(x.astype(paddle.float32), act, *arguments, **named)

    return operator


def binary(original: Callable, gated: type | None = None, is_sum: bool = False) -> Callable:
    """The operator of two activations of one shape, of one and a number, or of one and a gate."""

    def operator(x, y, *arguments):
        x_rows, y_rows = layout.remembered_rows(x), layout.remembered_rows(y)
        if x_rows is None and y_rows is None:
            return original(x, y, *arguments)
        if isinstance(y, Number):
            return layout.image(original(float_rows(x_rows), y, *arguments))
        if not _alike(x, y):
            return original(x, y, *arguments)
        if x.shape == y.shape:
            pair = alike(*map(layout.to_rows, (x, y)))
            in_bf16 = is_sum and layout.data_type(pair[0]) == onednn.BFLOAT16
            result = _Sum.apply(*pair) if in_bf16 else original(*map(float_rows, pair), *arguments)
            if is_sum:
                rectify.describe_sum(result, *pair)
            return layout.image(result)
        if gated and x_rows is not None and _is_gate(y.shape, x.shape):
            return _gated(gated, x_rows, y)
        if gated and y_rows is not None and _is_gate(x.shape, y.shape):
            return _gated(gated, y_rows, x)
        return original(x, y, *arguments)

    return operator


def _alike(x: object, y: object) -> bool:
    if not (isinstance(x, Tensor) and isinstance(y, Tensor) and x.ndim == y.ndim):
        return False
    return x.dtype == y.dtype or (layout.holds(x) and layout.holds(y))


def _is_gate(gate: list[int], image: list[int]) -> bool:
    return gate[0] in (1, image[0]) and gate[1:] == [image[1], 1, 1]


def _gated(operation: Any, rows: Tensor, gate: Tensor) -> Tensor:
    steps = broadcast.plan(tuple(rows.shape), gate.shape[0], layout.data_type(rows), openmp.threads())
    return layout.image(operation.apply(rows, float_rows(layout.to_rows(gate)), steps))


class _Sum(Layer):
    """The sum of rows for which Paddle has none."""

    @staticmethod
    def forward(ctx, first, second):
        ctx.wanted, data_type = (not first.stop_gradient, not second.stop_gradient), layout.data_type(first)
        result = layout.new(first.shape, data_type)
        add = flat.add(first.size, data_type, openmp.threads())
        add(first.data_ptr(), second.data_ptr(), result.data_ptr())
        return result

    @staticmethod
    def backward(ctx, gradient):
        return layout.of_both(layout.incoming(gradient), ctx.wanted)
