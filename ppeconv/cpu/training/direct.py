"""Convolution by oneDNN's own primitives."""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np

from ppeconv.cpu.library import kernels, onednn, openmp
from ppeconv.cpu.library.execution import Execution, Primitive, reorder
from ppeconv.cpu.library.scratch import aligned, array_at, exclusive
from ppeconv.cpu.library.series import Move, Series
from ppeconv.cpu.library.threads import Pieces, in_shares, scratch_size, workspace
from ppeconv.cpu.library.window import Band, Geometry
from ppeconv.cpu.training.sums import ColumnSums

# With several threads, oneDNN 3.6's gradient of a strided 1x1 convolution's weight overruns its scratch memory below 16
# channels. The convolution itself does not.
_FEWEST_CHANNELS_STRIDED = 16
# What oneDNN 3.6 prefers for the gradient of a strided depthwise convolution's image in bfloat16. It takes a hundred
# times as long as the kernel for depthwise convolutions that comes next.
_DENSE_KERNEL = "brgconv_strided"
# Multiplications below which a call takes more time than they do, as long as their positions are not so many.
_FEWEST_PRODUCTS, _LONGEST = 1 << 20, 1 << 11
# Positions summed up in one go, as multiples of the square root of an image's.
_CHAIN, _NARROW_CHAIN = 32, 16
# Channels of a group below which oneDNN's sums lose more digits than others of as many positions.
_NARROW_GROUP = 16
_WEIGHT_GRADIENT = onednn.SRC, onednn.DIFF_DST, onednn.DIFF_WEIGHTS


class Steps:
    """The three primitives of one geometry, built when first needed; weights and their gradients are float32."""

    def __init__(self, geometry: Geometry):
        self._geometry, self._biased = geometry, geometry.biased
        n, m, height, width = geometry.result
        _, per_group, kh, kw = geometry.weight
        top, bottom, left, right = geometry.padding
        if min(height, width) < 1 or n < 1:
            raise onednn.Unsupported("the output of this convolution is empty")
        if (kh, kw) == (1, 1) and max(geometry.stride) > 1 and per_group < _FEWEST_CHANNELS_STRIDED:
            raise onednn.Unsupported("oneDNN writes past its own memory in this convolution")
        if geometry.data_type == onednn.BFLOAT16 and kw > 1 and geometry.image[3] < geometry.stride[1]:
            raise onednn.Unsupported(
                "oneDNN's gradient of the weight is wrong in bfloat16 for images as narrow as these"
            )
        self._image = onednn.channels_last(geometry.image, geometry.data_type)
        self._result = onednn.channels_last(geometry.result, geometry.data_type)
        groups = geometry.groups
        shape = [m, per_group, kh, kw] if groups == 1 else [groups, m // groups, per_group, kh, kw]
        self.weight, self.any_weight = onednn.dense(shape), onednn.Layout(shape, None, geometry.data_type)
        self._bias = onednn.dense([m]) if self._biased else None
        self._window = (
            onednn.int64s(geometry.stride),
            onednn.int64s([d - 1 for d in geometry.dilation]),
            onednn.int64s([top, left]),
            onednn.int64s([bottom, right]),
        )
        self._recipe = onednn.convolution_recipe(
            onednn.FORWARD_TRAINING, self._image, self.any_weight, self._bias, self._result, self._window
        )
        if self._recipe.implementation.startswith("ref"):
            raise onednn.Unsupported("oneDNN has no fast convolution for this shape")
        self._shape = onednn.convolution_shape(self._image, self.any_weight, self._result, self._window)

    @property
    def uses_amx(self) -> bool:
        """Whether oneDNN has chosen kernels for AMX."""
        return self._recipe.uses_amx

    @functools.cached_property
    def forward(self) -> Primitive:
        """(image, weight, [bias], result)"""
        inputs = {onednn.SRC: self._image, onednn.WEIGHTS: self.weight}
        if self._bias is not None:
            inputs[onednn.BIAS] = self._bias
        return Primitive(self._recipe, inputs, {onednn.DST: self._result})

    @functools.cached_property
    def image_gradient(self) -> Primitive:
        """(gradient of the result, weight, gradient of the image)"""
        build = functools.partial(
            onednn.Recipe.of, "convolution_backward_data", onednn.CONVOLUTION_DIRECT,
            self._image, self.any_weight, self._result, *self._window, self._recipe,
        )  # fmt: skip
        recipe = onednn.preferring(build, kernels.image_gradient(self._shape))
        if self._geometry.weight[1] == 1 < self._geometry.groups:
            recipe = recipe.passing_over(lambda name: name.startswith(_DENSE_KERNEL))
        inputs = {onednn.DIFF_DST: self._result, onednn.WEIGHTS: self.weight}
        return Primitive(recipe, inputs, {onednn.DIFF_SRC: self._image})

    @functools.cached_property
    def weight_gradient(self) -> _WeightGradient | Primitive:
        """(image, gradient of the result, gradient of the weight, [gradient of the bias])"""
        if self._geometry.data_type == onednn.FLOAT32:
            return _WeightGradient(self._geometry)
        return self.weight_gradient_at_once

    @functools.cached_property
    def weight_gradient_at_once(self) -> Primitive:
        """The same by one primitive, whose long sums lose fewer digits than bfloat16 has."""
        recipe = self.weight_recipe(onednn.Layout(self.weight.shape, None), self._bias)
        gradients = {onednn.DIFF_WEIGHTS: self.weight}
        if self._bias is not None:
            gradients[onednn.DIFF_BIAS] = self._bias
        return Primitive(recipe, {onednn.SRC: self._image, onednn.DIFF_DST: self._result}, gradients)

    def weight_recipe(
        self, weight: onednn.Layout | ctypes.c_void_p, bias: onednn.Layout | None = None
    ) -> onednn.Recipe:
        """How the gradients of the weight, in this layout, and of the bias are computed."""
        build = functools.partial(
            onednn.Recipe.of, "convolution_backward_weights", onednn.CONVOLUTION_DIRECT,
            self._image, weight, bias, self._result, *self._window, self._recipe,
        )  # fmt: skip
        return onednn.preferring(build, kernels.weight_gradient(self._shape))


class _WeightGradient:
    """The gradients of weight and bias; each thread adds up the weight's of a few images after the other.

    oneDNN's own sums go through all positions of all images in one chain, which loses digits. Stock Paddle's begin
    anew with each image; chains of 32 times the square root of an image's positions lose about as few, of half of
    that where groups are narrow. Such a chain may be less than an image.
    """

    def __init__(self, geometry: Geometry):
        images, bands = _cut(geometry)
        self._pieces = pieces = Pieces(geometry.image[0], geometry.threads, images)

        def steps(images: int, band: Band) -> Steps:
            return Steps(band.geometry._replace(image=(images, *band.geometry.image[1:]), biased=False))

        with openmp.using_threads(1):
            largest = steps(max(pieces.sizes), bands[0])
            own = largest.weight_recipe(largest.any_weight)

        def run(band: Band, images: int) -> Execution:
            recipe = steps(images, band).weight_recipe(own.layout(onednn.DIFF_WEIGHTS))
            return Execution(recipe, {kind: recipe.layout(kind) for kind in _WEIGHT_GRADIENT})

        runs = [pieces.tools(functools.partial(run, band)) for band in bands]
        self._numbers = own.size(onednn.DIFF_WEIGHTS) // 4
        self._sums = aligned(4 * self._numbers)
        self._room = 2 * self._sums + max(map(scratch_size, runs))
        self._shares = [
            self._share(geometry, bands, [of_band[share] for of_band in runs], pieces.of_share[share])
            for share in range(pieces.shares)
        ]
        n, outputs, height, width = geometry.result
        self._bias = ColumnSums(n * height * width, outputs) if geometry.biased else None
        self._unblock = reorder(own.layout(onednn.DIFF_WEIGHTS), largest.weight)

    def _share(
        self, geometry: Geometry, bands: Sequence[Band], runs: Sequence[dict[int, Execution]], pieces: Sequence[slice]
    ) -> Series:
        """(image, gradient, sums): add the weight's gradients of some images to the sums, with room behind these."""
        image, gradient, sums = range(3)
        piece_sums, scratch = self._sums, 2 * self._sums
        add = _addition(self._numbers)
        steps: list[Execution | Move] = [Move(add, kind, sums) for kind in (onednn.SRC, onednn.DST)]
        steps.append(Move(add, onednn.SRC_1, sums, piece_sums))
        for run in (it for of_band in runs for it in of_band.values()):
            steps.append(Move(run, onednn.DIFF_WEIGHTS, sums, piece_sums))
            if run.scratch_size:
                steps.append(Move(run, onednn.SCRATCHPAD, sums, scratch))
        (image_size, image_row), (result_size, result_row) = map(_sizes, (geometry.image, geometry.result))
        for piece, (band, of_band) in itertools.product(pieces, zip(bands, runs, strict=True)):
            run = of_band[piece.stop - piece.start]
            to_image = piece.start * image_size + band.image_row * image_row
            to_gradient = piece.start * result_size + band.result_row * result_row
            steps += [
                Move(run, onednn.SRC, image, to_image),
                Move(run, onednn.DIFF_DST, gradient, to_gradient),
                run,
                add,
            ]
        return Series(steps)

    def __call__(self, image: int, gradient: int, weight_gradient: int, bias_gradient: int | None = None) -> None:
        shares = self._pieces.shares
        with exclusive:
            start = workspace.address(shares * self._room)
            sums = [start + share * self._room for share in range(shares)]
            total, *others = totals = [array_at(it, (self._numbers,)) for it in sums]

            def work(share: int) -> None:
                totals[share].fill(0)
                self._shares[share].run(image, gradient, sums[share])

            in_shares(work, shares)
            with np.errstate(all="ignore"):
                for it in others:
                    total += it
            self._unblock((start, weight_gradient))
        if self._bias is not None and bias_gradient is not None:
            self._bias(gradient, bias_gradient)


def _addition(numbers: int) -> Execution:
    """The sum of two vectors, by one thread."""
    with openmp.using_threads(1):
        row = onednn.dense([numbers])
        recipe = onednn.Recipe.of("binary", onednn.BINARY_ADD, row, row, row)
        return Execution(recipe, {kind: recipe.layout(kind) for kind in (onednn.SRC, onednn.SRC_1, onednn.DST)})


def _sizes(shape: Sequence[int]) -> tuple[int, int]:
    """Bytes of one image of [N, C, H, W], and of one of its rows."""
    _, channels, height, width = shape
    row = 4 * channels * width
    return height * row, row


def _cut(geometry: Geometry) -> tuple[int, list[Band]]:
    """Of how many images, or in which bands of one, the gradient of the weight is summed up in one go."""
    _, _, height, width = geometry.result
    positions, products = height * width, height * width * math.prod(geometry.weight)
    is_narrow = geometry.groups > 1 and geometry.weight[1] < _NARROW_GROUP
    worth_a_call = min(_FEWEST_PRODUCTS / products, _LONGEST / positions)
    images = max((_NARROW_CHAIN if is_narrow else _CHAIN) / math.sqrt(positions), worth_a_call)
    bands = min(height, round(1 / images))
    if bands > 1 and max(geometry.padding[:2]) < geometry.weight[2]:
        return 1, geometry.bands(bands)
    return max(1, round(images)), [Band(0, 0, geometry)]
