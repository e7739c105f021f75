"""Which calls of Paddle go to the fast layers: replaces Paddle's functions and puts them back."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

import paddle
from paddle import Tensor, _C_ops
from paddle.nn import functional

from . import conv, elementwise, layout, memory, norm, onednn, pool

_pending = threading.local()


def _taken(x: object, *operands: Tensor | None) -> bool:
    """Whether x is a float32 [N, C, H, W] activation on the CPU, in a pass that gradients will follow."""
    if type(x) is not Tensor or x.ndim != 4 or x.dtype != paddle.float32 or not x.place.is_cpu_place():
        return False
    tensors = [x, *(it for it in operands if it is not None)]
    if not paddle.is_grad_enabled() or all(it.stop_gradient for it in tensors):
        return False
    return all(it.dtype == paddle.float32 for it in tensors)


def _convolve(x, weight, bias, stride, padding, algorithm, dilation, groups):
    """The convolution by the fast layers, or None where they do not take it."""
    if not _taken(x, weight, bias):
        return None
    shape, kernel = x.shape, weight.shape
    geometry = conv.Geometry(
        tuple(shape), tuple(kernel), tuple(stride),
        conv.explicit_padding(padding, algorithm, shape[2:], kernel[2:], stride),
        (1, 1) if algorithm == "SAME" else tuple(dilation),
        groups, bias is not None, onednn.threads(),
    )  # fmt: skip
    steps = conv.plan(geometry)
    if steps is None:
        return None
    return layout.image(conv.Convolution.apply(layout.to_rows(x), weight, bias, steps))


def _convolve_or(original, x, weight, stride, padding, algorithm, dilation, groups, data_format):
    bias, _pending.bias = getattr(_pending, "bias", None), None
    result = None
    if data_format == "NCHW":
        result = _convolve(x, weight, bias, stride, padding, algorithm, dilation, groups)
    if result is None:
        _pending.bias = bias
        result = original()
    return result


def _conv2d(original: Callable) -> Callable:
    def conv2d(x, weight, stride, padding, algorithm, dilation, groups, data_format):
        stock = functools.partial(
            original, x, weight, stride, padding, algorithm, dilation, groups, data_format
        )
        return _convolve_or(stock, x, weight, stride, padding, algorithm, dilation, groups, data_format)

    return conv2d


def _depthwise_conv2d(original: Callable) -> Callable:
    def depthwise_conv2d(x, weight, stride, padding, algorithm, groups, dilation, data_format):
        stock = functools.partial(
            original, x, weight, stride, padding, algorithm, groups, dilation, data_format
        )
        return _convolve_or(stock, x, weight, stride, padding, algorithm, dilation, groups, data_format)

    return depthwise_conv2d


def _with_bias(original: Callable) -> Callable:
    """Hand the bias to the convolution inside instead of adding it afterwards."""

    def convolution(x, weight, bias=None, *arguments, **named):
        if bias is None or not _taken(x, weight, bias):
            return original(x, weight, bias, *arguments, **named)
        _pending.bias = bias
        try:
            result = original(x, weight, None, *arguments, **named)
        finally:
            left, _pending.bias = _pending.bias, None
        return result if left is None else result + bias.reshape([1, -1, 1, 1])

    return convolution


def _batch_norm(original: Callable) -> Callable:
    def batch_norm(x, mean, variance, scale, shift, is_test, momentum, epsilon, data_format, *rest):
        fixed = is_test or rest[0]
        if not fixed and data_format == "NCHW" and scale is not None and _taken(x, scale, shift):
            steps = norm.plan(tuple(x.shape), epsilon, False, onednn.threads())
            if steps is not None:
                rows = layout.to_rows(x)
                rows = norm.BatchNorm.apply(rows, scale, shift, (mean, variance), momentum, steps)
                return layout.image(rows), mean, variance, None, None, None
        return original(x, mean, variance, scale, shift, is_test, momentum, epsilon, data_format, *rest)

    return batch_norm


def _pool2d(original: Callable) -> Callable:
    def pool2d(x, kernel, stride, padding, ceil, exclusive, data_format, kind, whole, adaptive, algorithm):
        geometry = None
        if data_format == "NCHW" and _taken(x):
            geometry = _pooling(x.shape, kernel, stride, padding, ceil, exclusive, kind, whole, adaptive, algorithm)
        steps = None if geometry is None else pool.plan(geometry)
        if steps is None:
            return original(
                x, kernel, stride, padding, ceil, exclusive, data_format, kind, whole, adaptive, algorithm
            )
        return layout.image(pool.Pooling.apply(layout.to_rows(x), steps))

    return pool2d


def _pooling(shape, kernel, stride, padding, ceil, exclusive, kind, whole, adaptive, algorithm):
    """The geometry of a pooling call, None where the fast layers do not take it."""
    size = shape[2:]
    kernel = [kernel, kernel] if isinstance(kernel, int) else list(kernel)
    if whole or (adaptive and kernel == [1, 1]):
        kernel, stride, padding = size, [1, 1], [0, 0]
    elif adaptive or (ceil and kind == "avg"):
        return None
    around = conv.explicit_padding(padding, algorithm, size, kernel, stride)
    average = onednn.POOLING_AVERAGE_VALID if exclusive else onednn.POOLING_AVERAGE_ALL
    return pool.Geometry(
        tuple(shape), tuple(kernel), tuple(stride), around, ceil,
        onednn.POOLING_MAX if kind == "max" else average, onednn.threads(),
    )  # fmt: skip


def _concat(original: Callable) -> Callable:
    def concat(tensors, axis=0):
        if isinstance(axis, int) and axis in (1, -3) and any(_has_rows(it) for it in tensors):
            if all(it.ndim == 4 and it.dtype == paddle.float32 for it in tensors):
                return layout.image(original([layout.to_rows(it) for it in tensors], 3))
        return original(tensors, axis)

    return concat


def _has_rows(x: object) -> bool:
    return type(x) is Tensor and layout.remembered_rows(x) is not None


def _replacements() -> list[tuple[object, str, Callable]]:
    table = [
        (_C_ops, "conv2d", _conv2d),
        (_C_ops, "depthwise_conv2d", _depthwise_conv2d),
        (functional.conv, "_conv_nd", _with_bias),
        (functional.conv, "conv2d", _with_bias),
        (functional, "conv2d", _with_bias),
        (_C_ops, "batch_norm", _batch_norm),
        (_C_ops, "pool2d", _pool2d),
        (_C_ops, "concat", _concat),
    ]
    table += [(_C_ops, name, elementwise.unary) for name in elementwise.UNARY]
    table += [(_C_ops, name, elementwise.binary) for name in elementwise.BINARY]
    table += [(Tensor, name, elementwise.binary) for name in elementwise.OPERATORS]
    return [entry for entry in table if hasattr(entry[0], entry[1])]


class Patches:
    """Paddle's functions replaced by fast ones, and the originals to put back."""

    def __init__(self):
        self._originals: list[tuple[object, str, object]] = []

    @property
    def installed(self) -> bool:
        return bool(self._originals)

    def install(self) -> None:
        memory.keep_freed_pages()
        for owner, name, make in _replacements():
            original = getattr(owner, name)
            self._originals.append((owner, name, original))
            setattr(owner, name, functools.wraps(original)(make(original)))

    def remove(self) -> None:
        while self._originals:
            setattr(*self._originals.pop())
        memory.return_freed_pages()
