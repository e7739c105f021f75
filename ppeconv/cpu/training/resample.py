"""Nearest-neighbour upsampling of channels-last activations by whole factors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from paddle import Tensor

from ppeconv.cpu.library import onednn, openmp
from ppeconv.cpu.library.execution import Primitive
from ppeconv.cpu.training import layout
from ppeconv.cpu.training.fan import Layer


class Geometry(NamedTuple):
    """All that an upsampling's primitives depend on."""

    image: tuple[int, ...]
    size: tuple[int, int]
    threads: int
    data_type: int


class _Plan:
    def __init__(self, geometry: Geometry):
        n, c, *_ = geometry.image
        shapes = geometry.image, (n, c, *geometry.size)
        image, result = (onednn.channels_last(shape, geometry.data_type) for shape in shapes)
        kind = onednn.RESAMPLING_NEAREST
        recipe = onednn.Recipe.of("resampling_forward", onednn.FORWARD_TRAINING, kind, None, image, result)
        back = onednn.Recipe.of("resampling_backward", kind, None, image, result, recipe)
        self.output, self.data_type = [n, *geometry.size, c], geometry.data_type
        self.forward = Primitive(recipe, {onednn.SRC: image}, {onednn.DST: result})
        self.backward = Primitive(back, {onednn.DIFF_DST: result}, {onednn.DIFF_SRC: image})


_plan = functools.lru_cache(maxsize=256)(_Plan)


class Upsampling(Layer):
    """Upsampling of rows by a plan."""

    @staticmethod
    def forward(ctx, rows, steps):
        result = layout.new(steps.output, steps.data_type)
        steps.forward(rows.data_ptr(), result.data_ptr())
        ctx.steps, ctx.shape = steps, rows.shape
        return result

    @staticmethod
    def backward(ctx, gradient):
        gradient, result = layout.incoming(gradient), layout.new(ctx.shape, ctx.steps.data_type)
        ctx.steps.backward(gradient.data_ptr(), result.data_ptr())
        return result


def upsample(original: Callable) -> Callable:
    """To a height and a width."""

    def stand_in(x: Tensor, height: int, width: int) -> Tensor:
        result = _upsampled(x, height, width)
        return original(x, height, width) if result is None else result

    return stand_in


def nearest_interp(original: Callable) -> Callable:
    """Paddle's operator behind `interpolate`, asked for a size or for factors."""

    def stand_in(x, size, sizes, scales, data_format, depth, height, width, factors, kind, align_corners, *rest):
        result = None
        if size is sizes is scales is None and data_format == "NCHW" and not align_corners and x.ndim == 4:
            if len(factors) == 2:
                height, width = (side * factor for side, factor in zip(x.shape[2:], factors, strict=True))
            result = _upsampled(x, height, width)
        if result is not None:
            return result
        return original(x, size, sizes, scales, data_format, depth, height, width, factors, kind, align_corners, *rest)

    return stand_in


def _upsampled(x: Any, height: float, width: float) -> Tensor | None:
    """None where the fast layers do not serve: oneDNN rounds differently between whole factors."""
    rows = layout.remembered_rows(x)
    if rows is None or 0 in x.shape or height % x.shape[2] or width % x.shape[3] or min(height, width) < 1:
        return None
    geometry = Geometry(tuple(x.shape), (int(height), int(width)), openmp.threads(), layout.data_type(rows))
    return layout.image(Upsampling.apply(rows, _plan(geometry)))
