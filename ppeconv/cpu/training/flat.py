"""oneDNN's operations on all numbers of tensors alike, whatever their shape; Paddle has few of them for bfloat16."""

from __future__ import annotations

import ctypes
import functools
from typing import NamedTuple

from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.execution import Execution, Primitive, reorder


class Function(NamedTuple):
    """A function of each number, as oneDNN describes it."""

    kind: int
    alpha: float = 0
    beta: float = 0

    @property
    def is_known_by_result(self) -> bool:
        """Whether the gradient is computed from what the function gave, not from what it was given."""
        return self.kind == onednn.RELU_FROM_RESULT


RELU = Function(onednn.RELU_FROM_RESULT)


@functools.lru_cache(maxsize=256)
def add(size: int, data_type: int, _threads: int) -> Primitive:
    """(first, second, sum), which may be one of them"""
    numbers = onednn.dense([size], data_type)
    recipe = onednn.Recipe.of("binary", onednn.BINARY_ADD, numbers, numbers, numbers)
    return Primitive(recipe, {onednn.SRC: numbers, onednn.SRC_1: numbers}, {onednn.DST: numbers})


@functools.lru_cache(maxsize=256)
def apply(function: Function, size: int, data_type: int, _threads: int) -> Primitive:
    """(x, result)"""
    numbers = onednn.dense([size], data_type)
    return Primitive(_recipe(function, numbers), {onednn.SRC: numbers}, {onednn.DST: numbers})


@functools.lru_cache(maxsize=256)
def differentiate(function: Function, size: int, data_type: int, _threads: int) -> Primitive:
    """(x, or the result of a function known by that; the result's gradient; the gradient of x)"""
    numbers = onednn.dense([size], data_type)
    alpha, beta = map(ctypes.c_float, function[1:])
    recipe = onednn.Recipe.of(
        "eltwise_backward", function.kind, numbers, numbers, numbers, alpha, beta, _recipe(function, numbers)
    )
    known = onednn.DST if function.is_known_by_result else onednn.SRC
    return Primitive(recipe, {known: numbers, onednn.DIFF_DST: numbers}, {onednn.DIFF_SRC: numbers})


def _recipe(function: Function, numbers: onednn.Layout) -> onednn.Recipe:
    alpha, beta = map(ctypes.c_float, function[1:])
    arguments = onednn.FORWARD_TRAINING, function.kind, numbers, numbers, alpha, beta
    return onednn.Recipe.of("eltwise_forward", *arguments)


@functools.lru_cache(maxsize=1024)
def convert(size: int, source: int, target: int, _threads: int) -> Execution:
    """A copy from one number format into another."""
    return reorder(onednn.dense([size], source), onednn.dense([size], target))
