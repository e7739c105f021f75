"""Convolution by oneDNN's own primitives."""

from __future__ import annotations

import functools

from . import onednn
from .window import Geometry

# With several threads, oneDNN 3.6's strided 1x1 convolution overruns its scratch memory below 16 channels.
_FEWEST_CHANNELS_STRIDED = 16


class Steps:
    """The three primitives of one geometry, built when first needed."""

    def __init__(self, geometry: Geometry):
        self._biased = geometry.biased
        n, m, height, width = geometry.result
        _, per_group, kh, kw = geometry.weight
        top, bottom, left, right = geometry.padding
        if min(height, width) < 1 or n < 1:
            raise onednn.Unsupported("the output of this convolution is empty")
        if (kh, kw) == (1, 1) and max(geometry.stride) > 1 and per_group < _FEWEST_CHANNELS_STRIDED:
            raise onednn.Unsupported("oneDNN writes past its own memory in this convolution")
        self._image = onednn.channels_last(geometry.image)
        self._result = onednn.channels_last(geometry.result)
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
