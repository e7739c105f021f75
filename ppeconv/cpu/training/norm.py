"""Batch normalisation of channels-last activations, with its gradients.

One running sum over every position of a batch loses digits that Paddle's per-image sums keep. So the positions are
dealt out to lanes: [N, H, W, C] rows are also [N H W / lanes, lanes C] rows, of which oneDNN sums every column by
itself, and the lanes' short sums are added up afterwards.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import paddle

from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.cpuinfo import cpu_flags
from ppeconv.cpu.library.execution import Primitive
from ppeconv.cpu.library.scratch import array_at, exclusive
from ppeconv.cpu.library.threads import workspace
from ppeconv.cpu.training import layout
from ppeconv.cpu.training.fan import Layer

# Sums of sqrt(positions) / lanes beyond this lose more digits than stock Paddle's.
_LONGEST = 2
# oneDNN is 20 to 40 times slower where the columns do not fill vectors.
_VECTOR = 16
# Rows that oneDNN is told form an image. With AVX-512 its loops take up to twice the time for fewer or many more,
# without it up to five times for more than one.
_TOGETHER = 8 if "avx512f" in cpu_flags() else 1
_GIVEN_STATISTICS = onednn.GLOBAL_STATISTICS | onednn.USE_SCALE | onednn.USE_SHIFT


class _Primitives:
    """oneDNN's normalisation of [rows, columns], each part built when first needed."""

    def __init__(self, rows: int, columns: int, epsilon: float, data_type: int):
        together = next(it for it in range(min(rows, _TOGETHER), rows + 1) if rows % it == 0)
        self._rows = onednn.channels_last([rows // together, columns, together, 1], data_type)
        self._columns = onednn.dense([columns])
        self._epsilon = ctypes.c_float(epsilon)
        self._statistics = {onednn.MEAN: self._columns, onednn.VARIANCE: self._columns}
        self._parameters = {onednn.SCALE: self._columns, onednn.SHIFT: self._columns}
        if self._forward(_GIVEN_STATISTICS).implementation.startswith("ref"):
            raise onednn.Unsupported("oneDNN has no fast batch normalisation for this shape")
        self.mask_size = 0

    @functools.cached_property
    def measure(self) -> Primitive:
        """(rows, result, mean, variance): their statistics, and what they normalise them to."""
        results = {onednn.DST: self._rows, **self._statistics}
        return Primitive(self._forward(0), {onednn.SRC: self._rows}, results)

    @functools.cached_property
    def apply(self) -> Primitive:
        """(rows, scale, shift, mean, variance, result): normalised by given statistics."""
        inputs = {onednn.SRC: self._rows, **self._parameters, **self._statistics}
        return Primitive(self._forward(_GIVEN_STATISTICS), inputs, {onednn.DST: self._rows})

    @functools.cached_property
    def apply_and_rectify(self) -> Primitive:
        """(rows, scale, shift, mean, variance, result, mask): normalised by given statistics, then ReLU."""
        recipe = self._forward(_GIVEN_STATISTICS | onednn.FUSE_RELU)
        self.mask_size = recipe.size(onednn.WORKSPACE)
        inputs = {onednn.SRC: self._rows, **self._parameters, **self._statistics}
        return Primitive(recipe, inputs, {onednn.DST: self._rows, onednn.WORKSPACE: None})

    @functools.cached_property
    def backward(self) -> Primitive:
        """(rows, gradient, scale, mean, variance, gradients of rows, scale and shift): constant statistics."""
        return self._backward(_GIVEN_STATISTICS, {})

    @functools.cached_property
    def masked_backward(self) -> Primitive:
        """(rows, gradient, scale, mean, variance, mask, gradients of rows, scale and shift)"""
        return self._backward(_GIVEN_STATISTICS | onednn.FUSE_RELU, {onednn.WORKSPACE: None})

    def _forward(self, flags: int) -> onednn.Recipe:
        arguments = onednn.FORWARD_TRAINING, self._rows, self._rows, self._epsilon, flags
        return onednn.Recipe.of("batch_normalization_forward", *arguments)

    def _backward(self, flags: int, mask: dict[int, None]) -> Primitive:
        recipe = onednn.Recipe.of(
            "batch_normalization_backward", onednn.BACKWARD, self._rows, self._rows, self._rows, self._epsilon,
            flags, self._forward(flags),
        )  # fmt: skip
        inputs = {onednn.SRC: self._rows, onednn.DIFF_DST: self._rows, onednn.SCALE: self._columns}
        gradients = {onednn.DIFF_SCALE: self._columns, onednn.DIFF_SHIFT: self._columns}
        return Primitive(recipe, {**inputs, **self._statistics, **mask}, {onednn.DIFF_SRC: self._rows, **gradients})


class Table:
    """Numbers of each lane's channels, [parts, lanes, C], and where each part lies."""

    def __init__(self, parts: int, lanes: int, channels: int):
        self.numbers = np.empty([parts, lanes, channels], np.float32)
        start, step = self.numbers.__array_interface__["data"][0], self.numbers.strides[0]
        self.addresses = range(start, start + parts * step, step)

    def fill(self, *parts: np.ndarray) -> None:
        """Repeat each part's numbers of the channels for every lane."""
        for lanes, vector in zip(self.numbers, parts, strict=True):
            lanes[:] = vector


class Plan:
    """How rows of one shape are normalised."""

    def __init__(self, shape: tuple[int, ...], epsilon: float, data_type: int):
        if 0 in shape:
            raise onednn.Unsupported("there is nothing to normalise")
        n, self.channels, h, w = shape
        self._epsilon, self.positions, self.data_type = epsilon, n * h * w, data_type
        self._lanes = _lanes(self.positions, self.channels)
        self.rows = _Primitives(self.positions // self._lanes, self._lanes * self.channels, epsilon, data_type)
        # What passes between oneDNN and NumPy within one call, which holds `exclusive`.
        self._passing = Table(2, self._lanes, self.channels)

    def measure(self, rows: paddle.Tensor) -> Statistics:
        """The statistics of rows."""
        passing = self._passing
        with exclusive, np.errstate(all="ignore"):
            unread = workspace.address(4 * self.positions * self.channels)
            self.rows.measure(rows.data_ptr(), unread, *passing.addresses)
            mean, variance = np.add.reduce(passing.numbers, 1, np.float64) / self._lanes
            off = passing.numbers[0] - mean
            return Statistics(mean, variance + np.add.reduce(off * off) / self._lanes)

    def table(self, *parts: np.ndarray) -> Table:
        """Numbers of the channels, such as scale, shift, mean and variance."""
        table = Table(len(parts), self._lanes, self.channels)
        table.fill(*parts)
        return table

    def differentiate(
        self, primitive: Primitive, rows: paddle.Tensor, gradient: paddle.Tensor, table: Table, *after: int
    ) -> np.ndarray:
        """Run a backward primitive, with the addresses of mask and result; returns the gradients of scale and shift."""
        (scale, _, mean, variance), passing = table.addresses, self._passing
        with exclusive, np.errstate(all="ignore"):
            primitive(rows.data_ptr(), gradient.data_ptr(), scale, mean, variance, *after, *passing.addresses)
            return np.add.reduce(passing.numbers, 1, np.float64)

    @functools.cached_property
    def _affine(self) -> Primitive:
        """(rows, slope, other rows, intercept, result): slope * rows + other rows + intercept."""
        columns = self._lanes * self.channels
        rows, column = (
            onednn.dense([self.positions // self._lanes, columns], self.data_type),
            onednn.dense([1, columns]),
        )
        attributes = onednn.Attributes().then(onednn.BINARY_ADD, rows).then(onednn.BINARY_ADD, column)
        recipe = onednn.Recipe.of("binary", onednn.BINARY_MULTIPLY, rows, column, rows, attributes=attributes)
        others = {onednn.post_operand(0): rows, onednn.post_operand(1): column}
        return Primitive(recipe, {onednn.SRC: rows, onednn.SRC_1: column, **others}, {onednn.DST: rows})

    def follow_statistics(self, gradient: paddle.Tensor, rows: paddle.Tensor, totals: np.ndarray, table: Table) -> None:
        """Complete the gradient of rows, in place, by what goes through the mean and the variance.

        With x' the normalised rows it is s / deviation * (g - total(g) / positions - x' total(g x') / positions).
        """
        passing, at = self._passing, gradient.data_ptr()
        with exclusive, np.errstate(all="ignore"):
            scale, _, mean, variance = table.numbers[:, 0].astype(np.float64)
            inverse = (variance + self._epsilon) ** -0.5
            through_variance, through_mean = totals * (scale * inverse * (-1 / self.positions))
            slope = through_variance * inverse
            passing.fill(slope, through_mean - slope * mean)
            to_slope, to_intercept = passing.addresses
            self._affine(rows.data_ptr(), to_slope, at, to_intercept, at)


def _lanes(positions: int, channels: int) -> int:
    """The smallest divisor of the positions that keeps sums short and, if any does, makes the columns whole vectors."""
    fewest = max(1, math.ceil(math.sqrt(positions) / _LONGEST))
    enough = [it for it in range(fewest, _VECTOR * fewest + 1) if positions % it == 0] or [positions]
    return next((it for it in enough if it * channels % _VECTOR == 0), enough[0])


@functools.lru_cache(maxsize=1024)
def plan(shape: tuple[int, ...], epsilon: float, data_type: int, _threads: int) -> Plan | None:
    """The plan of rows of a shape for so many threads, in float32 where that alone is fast; None where nothing is."""
    try:
        return Plan(shape, epsilon, data_type)
    except onednn.Unsupported:
        return plan(shape, epsilon, onednn.FLOAT32, _threads) if data_type != onednn.FLOAT32 else None


class Statistics(NamedTuple):
    """Mean and variance of each channel."""

    mean: np.ndarray
    variance: np.ndarray


def follow(running: Sequence[paddle.Tensor], batch: Statistics, momentum: float) -> None:
    """Blend a batch's statistics into the running ones."""
    for tensor, found in zip(running, batch, strict=True):
        numbers = array_at(tensor.data_ptr(), found.shape)
        numbers[:] = momentum * numbers + (1 - momentum) * found


class BatchNorm(Layer):
    """Normalisation by given statistics: constants, or those of rows themselves and then differentiated through."""

    @staticmethod
    def forward(ctx, rows, scale, shift, table, steps, of_rows):
        result = layout.new(rows.shape, steps.data_type)
        steps.rows.apply(rows.data_ptr(), *table.addresses, result.data_ptr())
        remember(ctx, steps, (rows, scale, shift), table, of_rows)
        return result

    @staticmethod
    def backward(ctx, gradient):
        return gradients(ctx, ctx.steps.rows.backward, layout.incoming(gradient), *ctx.saved_tensor())


class RectifiedBatchNorm(Layer):
    """ReLU of rows normalised by given statistics of their own, differentiated through the statistics."""

    @staticmethod
    def forward(ctx, rows, scale, shift, table, steps):
        run, result = steps.rows.apply_and_rectify, layout.new(rows.shape, steps.data_type)
        mask = layout.new_bytes(steps.rows.mask_size)
        run(rows.data_ptr(), *table.addresses, result.data_ptr(), mask.data_ptr())
        remember(ctx, steps, (rows, scale, shift), table, True, mask)
        return result

    @staticmethod
    def backward(ctx, gradient):
        return gradients(ctx, ctx.steps.rows.masked_backward, layout.incoming(gradient), *ctx.saved_tensor())


def remember(ctx: Any, steps: Plan, inputs: Sequence[paddle.Tensor], table: Table, of_rows: bool, *others: Any) -> None:
    """Keep what the gradients of the inputs (rows, scale and shift) need, and other tensors."""
    layout.trains(*inputs[1:])
    ctx.steps, ctx.table, ctx.of_rows = steps, table, of_rows
    ctx.wanted = [not tensor.stop_gradient for tensor in inputs]
    ctx.save_for_backward(inputs[0], *others)


def gradients(
    ctx: Any, primitive: Primitive, gradient: paddle.Tensor, rows: paddle.Tensor, *mask: paddle.Tensor
) -> tuple:
    """The gradients of rows, scale and shift, where wanted."""
    steps, table = ctx.steps, ctx.table
    results = layout.new(rows.shape, steps.data_type), layout.new([steps.channels]), layout.new([steps.channels])
    *others, to_scale, to_shift = (tensor.data_ptr() for tensor in (*mask, *results))
    totals = steps.differentiate(primitive, rows, gradient, table, *others)
    for address, total in zip((to_scale, to_shift), totals, strict=True):
        array_at(address, total.shape)[:] = total
    if ctx.of_rows:
        steps.follow_statistics(results[0], rows, totals, table)
    return tuple(tensor if wanted else None for tensor, wanted in zip(results, ctx.wanted, strict=True))
