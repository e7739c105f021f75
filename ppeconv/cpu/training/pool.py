"""Maximum and average pooling of channels-last activations."""

from __future__ import annotations

import functools
from typing import NamedTuple

from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.execution import Primitive
from ppeconv.cpu.training import layout
from ppeconv.cpu.training.fan import Layer


class Geometry(NamedTuple):
    """All that a pooling's primitives depend on."""

    image: tuple[int, ...]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    ceil: bool
    kind: int
    threads: int
    data_type: int = onednn.FLOAT32


class _Plan:
    def __init__(self, geometry: Geometry):
        if 0 in geometry.image:
            raise onednn.Unsupported("there is nothing to pool")
        n, c, h, w = geometry.image
        top, bottom, left, right = geometry.padding
        height, bottom = _extent(h, geometry.kernel[0], geometry.stride[0], top, bottom, geometry.ceil)
        width, right = _extent(w, geometry.kernel[1], geometry.stride[1], left, right, geometry.ceil)
        self.output = [n, height, width, c]
        self.data_type = geometry.data_type
        image, result = (onednn.channels_last(it, self.data_type) for it in (geometry.image, (n, c, height, width)))
        window = (
            onednn.int64s(geometry.stride),
            onednn.int64s(geometry.kernel),
            onednn.int64s([0, 0]),
            onednn.int64s([top, left]),
            onednn.int64s([bottom, right]),
        )
        recipe = onednn.Recipe.of("pooling_forward", onednn.FORWARD_TRAINING, geometry.kind, image, result, *window)
        if recipe.implementation.startswith("ref"):
            raise onednn.Unsupported("oneDNN has no fast pooling for this shape")
        back = onednn.Recipe.of("pooling_backward", geometry.kind, image, result, *window, recipe)
        is_max = geometry.kind == onednn.POOLING_MAX
        winners = {onednn.WORKSPACE: None} if is_max else {}
        self.winners_size = recipe.size(onednn.WORKSPACE) if is_max else 0
        self.forward = Primitive(recipe, {onednn.SRC: image}, {onednn.DST: result, **winners})
        self.backward = Primitive(back, {onednn.DIFF_DST: result, **winners}, {onednn.DIFF_SRC: image})


def _extent(size: int, kernel: int, stride: int, before: int, after: int, ceil: bool) -> tuple[int, int]:
    """Output size along one axis, and the padding behind it that the last window needs."""
    room = size + before + after - kernel
    steps = -(-room // stride) if ceil else room // stride
    if steps < 0 or steps * stride >= size + before or max(before, after) >= kernel:
        raise onednn.Unsupported("a pooling window lies outside the image")
    return steps + 1, steps * stride + kernel - size - before


@functools.lru_cache(maxsize=1024)
def plan(geometry: Geometry) -> _Plan | None:
    """The primitives of a geometry, in float32 where those alone are fast; None where none are."""
    try:
        return _Plan(geometry)
    except onednn.Unsupported:
        return plan(geometry._replace(data_type=onednn.FLOAT32)) if geometry.data_type != onednn.FLOAT32 else None


class Pooling(Layer):
    """Pooling of rows by a plan."""

    @staticmethod
    def forward(ctx, rows, steps):
        results = [layout.new(steps.output, steps.data_type)]
        if steps.winners_size:
            results.append(layout.new_bytes(steps.winners_size))
        steps.forward(rows.data_ptr(), *[tensor.data_ptr() for tensor in results])
        ctx.save_for_backward(*results[1:])
        ctx.steps, ctx.shape = steps, rows.shape
        return results[0]

    @staticmethod
    def backward(ctx, gradient):
        inputs = [layout.incoming(gradient), *ctx.saved_tensor()]
        result = layout.new(ctx.shape, ctx.steps.data_type)
        ctx.steps.backward(*[tensor.data_ptr() for tensor in inputs], result.data_ptr())
        return result
