"""oneDNN's operations on all numbers of tensors alike, whatever their shape; Paddle has few of them for bfloat16."""

from __future__ import annotations

import ctypes
import functools

from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.execution import Execution, Primitive, reorder

_ZERO = ctypes.c_float(0)


@functools.lru_cache(maxsize=256)
def add(size: int, data_type: int, _threads: int) -> Primitive:
    """(first, second, sum), which may be one of them"""
    numbers = onednn.dense([size], data_type)
    recipe = onednn.Recipe.of("binary", onednn.BINARY_ADD, numbers, numbers, numbers)
    return Primitive(recipe, {onednn.SRC: numbers, onednn.SRC_1: numbers}, {onednn.DST: numbers})


@functools.lru_cache(maxsize=256)
def relu(size: int, data_type: int, _threads: int) -> Primitive:
    """(x, result)"""
    numbers = onednn.dense([size], data_type)
    return Primitive(_relu(numbers), {onednn.SRC: numbers}, {onednn.DST: numbers})


@functools.lru_cache(maxsize=256)
def relu_backward(size: int, data_type: int, _threads: int) -> Primitive:
    """(ReLU's result, its gradient, the gradient of its input)"""
    numbers, kind = onednn.dense([size], data_type), onednn.RELU_FROM_RESULT
    recipe = onednn.Recipe.of("eltwise_backward", kind, numbers, numbers, numbers, _ZERO, _ZERO, _relu(numbers))
    return Primitive(recipe, {onednn.DST: numbers, onednn.DIFF_DST: numbers}, {onednn.DIFF_SRC: numbers})


def _relu(numbers: onednn.Layout) -> onednn.Recipe:
    kind = onednn.RELU_FROM_RESULT
    return onednn.Recipe.of("eltwise_forward", onednn.FORWARD_TRAINING, kind, numbers, numbers, _ZERO, _ZERO)


@functools.lru_cache(maxsize=1024)
def convert(size: int, source: int, target: int, _threads: int) -> Execution:
    """A copy from one number format into another."""
    return reorder(onednn.dense([size], source), onednn.dense([size], target))
