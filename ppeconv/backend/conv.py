"""Two-dimensional convolution, plain, grouped or depthwise, with its gradients."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

from paddle.autograd import PyLayer

from . import layout, onednn

# With several threads, oneDNN 3.6's strided 1x1 convolution overruns its scratch memory below 16 channels.
_FEWEST_CHANNELS_STRIDED = 16


class Geometry(NamedTuple):
    """All that a convolution's primitives depend on."""

    image: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    biased: bool
    threads: int


class _Plan:
    """The three primitives of one geometry, built when first needed."""

    def __init__(self, geometry: Geometry):
        self._biased = geometry.biased
        n, _, h, w = geometry.image
        m, per_group, kh, kw = geometry.weight
        top, bottom, left, right = geometry.padding
        height = _extent(h + top + bottom, kh, geometry.stride[0], geometry.dilation[0])
        width = _extent(w + left + right, kw, geometry.stride[1], geometry.dilation[1])
        if min(height, width) < 1 or n < 1:
            raise onednn.Unsupported("the output of this convolution is empty")
        if (kh, kw) == (1, 1) and max(geometry.stride) > 1 and per_group < _FEWEST_CHANNELS_STRIDED:
            raise onednn.Unsupported("oneDNN writes past its own memory in this convolution")
        self.output = [n, height, width, m]
        self._image = onednn.channels_last(geometry.image)
        self._result = onednn.channels_last([n, m, height, width])
        groups = geometry.groups
        shape = [m, per_group, kh, kw] if groups == 1 else [groups, m // groups, per_group, kh, kw]
        self._weight, self._any_weight = onednn.dense(shape), onednn.Layout(shape, None)
        self._bias = onednn.dense([m]) if self._biased else None
        self._window = (
            onednn.int64s(geometry.stride),
            onednn.int64s([d - 1 for d in geometry.dilation]),
            onednn.int64s([top, left]),
            onednn.int64s([bottom, right]),
        )
        self._recipe = self._fast(
            "convolution_forward", onednn.FORWARD_TRAINING, onednn.CONVOLUTION_DIRECT,
            self._image, self._any_weight, self._bias, self._result, *self._window,
        )  # fmt: skip

    @staticmethod
    def _fast(operation: str, *arguments: object) -> onednn.Recipe:
        recipe = onednn.Recipe.of(operation, *arguments)
        if recipe.implementation.startswith("ref"):
            raise onednn.Unsupported(f"oneDNN has no fast {operation} for this shape")
        return recipe

    @functools.cached_property
    def forward(self) -> onednn.Primitive:
        """(image, weight, [bias], result)"""
        inputs = {onednn.SRC: self._image, onednn.WEIGHTS: self._weight}
        if self._biased:
            inputs[onednn.BIAS] = self._bias
        return onednn.Primitive(self._recipe, inputs, {onednn.DST: self._result})

    @functools.cached_property
    def image_gradient(self) -> onednn.Primitive:
        """(gradient of the result, weight, gradient of the image)"""
        recipe = onednn.Recipe.of(
            "convolution_backward_data", onednn.CONVOLUTION_DIRECT,
            self._image, self._any_weight, self._result, *self._window, self._recipe,
        )  # fmt: skip
        inputs = {onednn.DIFF_DST: self._result, onednn.WEIGHTS: self._weight}
        return onednn.Primitive(recipe, inputs, {onednn.DIFF_SRC: self._image})

    @functools.cached_property
    def weight_gradient(self) -> onednn.Primitive:
        """(image, gradient of the result, gradient of the weight, [gradient of the bias])"""
        recipe = onednn.Recipe.of(
            "convolution_backward_weights", onednn.CONVOLUTION_DIRECT,
            self._image, self._any_weight, self._bias, self._result, *self._window, self._recipe,
        )  # fmt: skip
        outputs = {onednn.DIFF_WEIGHTS: self._weight}
        if self._biased:
            outputs[onednn.DIFF_BIAS] = self._bias
        return onednn.Primitive(recipe, {onednn.SRC: self._image, onednn.DIFF_DST: self._result}, outputs)


def _extent(padded: int, kernel: int, stride: int, dilation: int) -> int:
    return (padded - dilation * (kernel - 1) - 1) // stride + 1


@functools.lru_cache(maxsize=1024)
def plan(geometry: Geometry) -> _Plan | None:
    """The primitives of a geometry; None where oneDNN has no fast ones or the arguments make no sense."""
    try:
        return _Plan(geometry)
    except onednn.OneDNNError:
        return None


def explicit_padding(
    padding: Sequence[int] | int,
    algorithm: str,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
) -> tuple[int, int, int, int]:
    """Paddle's padding arguments as (top, bottom, left, right)."""
    if algorithm == "VALID":
        return 0, 0, 0, 0
    if algorithm == "SAME":
        return _same(size[0], kernel[0], stride[0]) + _same(size[1], kernel[1], stride[1])
    if isinstance(padding, int):
        return (padding,) * 4
    if len(padding) == 4:
        return tuple(padding)
    return padding[0], padding[0], padding[1], padding[1]


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Convolution(PyLayer):
    """Convolution of rows by a plan."""

    @staticmethod
    def forward(ctx, rows, weight, bias, steps):
        operands = [rows, weight] if bias is None else [rows, weight, bias]
        ctx.wanted = not rows.stop_gradient, layout.trains(*operands[1:])
        weight, *bias = (it.contiguous() for it in operands[1:])
        result = layout.new(steps.output)
        steps.forward(*[tensor.data_ptr() for tensor in (rows, weight, *bias, result)])
        ctx.save_for_backward(rows, weight)
        ctx.steps, ctx.biased = steps, bool(bias)
        return result

    @staticmethod
    def backward(ctx, gradient):
        rows, weight = ctx.saved_tensor()
        gradient = layout.incoming(gradient)
        wants_image, wants_weight = ctx.wanted
        image_gradient = weight_gradient = bias_gradient = None
        if wants_image:
            image_gradient = layout.new(rows.shape)
            ctx.steps.image_gradient(gradient.data_ptr(), weight.data_ptr(), image_gradient.data_ptr())
        if wants_weight:
            weight_gradient = layout.new(weight.shape)
            outputs = [weight_gradient]
            if ctx.biased:
                bias_gradient = layout.new([weight.shape[0]])
                outputs.append(bias_gradient)
            addresses = [tensor.data_ptr() for tensor in outputs]
            ctx.steps.weight_gradient(rows.data_ptr(), gradient.data_ptr(), *addresses)
        if ctx.biased:
            return image_gradient, weight_gradient, bias_gradient
        return image_gradient, weight_gradient
