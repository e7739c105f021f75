"""Paddle's own element-by-element operators, applied to channels-last rows instead of to their image."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number

from paddle import Tensor

from . import layout

UNARY = (
    "relu", "relu6", "leaky_relu", "hardswish", "hardsigmoid", "hardtanh", "swish", "silu", "sigmoid",
    "tanh", "elu", "mish", "scale", "abs", "square", "sqrt", "exp",
)  # fmt: skip
BINARY = ("add", "subtract", "multiply", "maximum", "minimum")
OPERATORS = ("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__")


def unary(original: Callable) -> Callable:
    """An operator of one activation that keeps it channels-last."""

    def operator(x, *arguments, **named):
        rows = layout.remembered_rows(x) if type(x) is Tensor else None
        if rows is None:
            return original(x, *arguments, **named)
        return layout.image(original(rows, *arguments, **named))

    return operator


def binary(original: Callable) -> Callable:
    """An operator of two activations of one shape, or of one and a number."""

    def operator(x, y, *arguments, **named):
        pair = _matching_rows(x, y)
        if pair is None:
            return original(x, y, *arguments, **named)
        return layout.image(original(*pair, *arguments, **named))

    return operator


def _matching_rows(x, y):
    x_rows = layout.remembered_rows(x) if type(x) is Tensor else None
    y_rows = layout.remembered_rows(y) if type(y) is Tensor else None
    if x_rows is None and y_rows is None:
        return None
    if x_rows is not None and isinstance(y, Number):
        return x_rows, y
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)) or x.shape != y.shape or x.dtype != y.dtype:
        return None
    return (layout.to_rows(x) if x_rows is None else x_rows), (layout.to_rows(y) if y_rows is None else y_rows)
