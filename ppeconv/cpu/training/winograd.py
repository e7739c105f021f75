"""3x3 convolution of stride 1 with 16 multiplications in place of 36: Winograd's minimal filtering F(2x2, 3x3).

Each tile of the image becomes 16 numbers, so does each kernel; their products, summed over the channels by matrix
multiplications, are turned into a tile of the result. Both gradients are made of the same parts. The shorter sums lose
fewer digits than a direct convolution's.

Source: Lavin, Gray, Fast Algorithms for Convolutional Neural Networks, arXiv 1509.09308.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np

from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.cpuinfo import cpu_flags
from ppeconv.cpu.library.execution import Execution, matrix_product
from ppeconv.cpu.library.scratch import aligned, array_at, exclusive
from ppeconv.cpu.library.threads import Pieces, in_shares, scratch_size, workspace
from ppeconv.cpu.library.window import Geometry
from ppeconv.cpu.training.tiles import Room, gradient_tiles, image_tiles, operands_uncopied, result_of, width

_PRODUCTS = 16
_OF_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
_KERNEL = np.kron(_OF_KERNEL, _OF_KERNEL)
_TURNED_KERNEL = np.ascontiguousarray(_KERNEL[:, ::-1])
# Tiles that a thread works on at a time: more leave the caches, fewer make slow products.
_TOGETHER = 256
# Channels summed up in one go: more lose more digits.
_CHAIN = 128
# Below these the transforms cost more than they save: in the result and the gradient of the image, and in that of the
# weight, where CPUs with AMX differ. docs/cpu_training.md has the measurements.
_FEWEST_TO_FILTER = 128
_FEWEST_CHANNELS = 128 if "amx_tile" in cpu_flags() else 64
_FEWEST_TILES = 32


class _Products:
    """16 matrix products for each group, their sums begun anew after every `chain` terms.

    Of left, right and result it takes the strides of [16, rows, columns] and how many floats lie between one group's
    and the next. `adds` them to what the result's memory holds.
    """

    def __init__(self, shape: Sequence[int], operands: Sequence[tuple], groups: int, chain: int, adds: bool = False):
        rows, depth, columns = shape
        (left, right, result), steps = zip(*operands, strict=True)
        build = functools.cache(functools.partial(_product, rows, columns, left, right, result))
        self._runs = []
        for group, start in itertools.product(range(groups), range(0, depth, chain)):
            first = left[2] * start, right[1] * start, 0
            offsets = [4 * (group * step + offset) for step, offset in zip(steps, first, strict=True)]
            self._runs.append((build(min(chain, depth - start), adds or start > 0), offsets))
        self.scratch_size = max(run.scratch_size for run, _ in self._runs)

    def __call__(self, *addresses: int, scratch: int) -> None:
        for run, offsets in self._runs:
            run.work_at(scratch)
            run.place([address + offset for address, offset in zip(addresses, offsets, strict=True)])
            run.run()


def _product(
    rows: int,
    columns: int,
    left: Sequence[int],
    right: Sequence[int],
    result: Sequence[int],
    depth: int,
    adds: bool,
) -> Execution:
    shapes = (rows, depth), (depth, columns), (rows, columns)
    strides = left, right, result
    first, second, product = (onednn.Layout([_PRODUCTS, *it], by) for it, by in zip(shapes, strides, strict=True))
    attributes = onednn.Attributes().then_add_to_result() if adds else None
    recipe = onednn.product_recipe(first, second, product, attributes)
    return Execution(recipe, {kind: recipe.layout(kind) for kind in (onednn.SRC, onednn.WEIGHTS, onednn.DST)})


class _Tiles:
    """The images of a batch cut into tiles, as many images at a time as fit."""

    def __init__(self, result: Sequence[int], threads: int):
        n, height, width, _ = result
        self.grid = _halved(height), _halved(width)
        self.count = math.prod(self.grid)
        self.pieces = Pieces(n, threads, max(1, _TOGETHER // self.count))

    def room(self, channels: int, gradient_channels: int, tools: Sequence[dict[int, _Products]]) -> int:
        """Bytes of the arrays of one step: transformed images of so many channels and products or gradients."""
        down, across = self.grid
        whole = _PRODUCTS * self.count
        image = 4 * (down + 1) * (across + 1) + 8 * down * (across + 1) + whole
        arrays = 4 * max(self.pieces.sizes) * (image * channels + whole * gradient_channels)
        return aligned(arrays + scratch_size(tools)) + 5 * aligned(1)


class _Filter:
    """Images [N, H, W, C] filtered by kernels to [N, H', W', M].

    `right` is the kernels' operand of the matrix products, of which `matrix` makes them.
    """

    def __init__(self, geometry: Geometry, right: tuple, matrix: np.ndarray):
        self._source, self._target = _rows(geometry.image), _rows(geometry.result)
        self._padding, groups = geometry.padding[::2], geometry.groups
        c, m = self._source[-1], self._target[-1]
        self._tiles = tiles = _Tiles(self._target, geometry.threads)

        def products(images: int) -> _Products:
            rows = images * tiles.count
            operands = _operand(rows, width(c), c // groups), right, _operand(rows, m, m // groups)
            return _Products((rows, c // groups, m // groups), operands, groups, _CHAIN)

        self._products = tiles.pieces.tools(products)
        self._matrix, numbers = matrix, math.prod(geometry.weight[:2])
        self._transform_kernels = matrix_product(
            onednn.dense([_PRODUCTS, 9]), onednn.Layout([9, numbers], [1, 9]), onednn.dense([_PRODUCTS, numbers])
        )
        self._kernels_size = aligned(4 * _PRODUCTS * numbers)
        self._room = tiles.room(width(c), m, self._products)

    def __call__(self, source: int, weight: int, target: int, bias: int | None = None) -> None:
        with exclusive:
            kernels = workspace.address(self._kernels_size + self._tiles.pieces.shares * self._room)
            self._transform_kernels(self._matrix.ctypes.data, weight, kernels)
            images, results = array_at(source, self._source), array_at(target, self._target)
            shift = None if bias is None else array_at(bias, self._target[-1:])
            in_shares(functools.partial(self._share, images, kernels, shift, results), self._tiles.pieces.shares)

    def _share(
        self, images: np.ndarray, kernels: int, shift: np.ndarray | None, results: np.ndarray, share: int
    ) -> None:
        tiles, channels = self._tiles.grid, self._target[-1]
        with operands_uncopied():
            for piece in self._tiles.pieces.of_share[share]:
                room = Room(kernels + self._kernels_size + share * self._room)
                transformed = image_tiles(images[piece], self._padding, tiles, room)
                count = transformed.shape[2]
                products = room.array(4, 4, count, *tiles, channels)
                multiply = self._products[share][count]
                multiply(transformed.ctypes.data, kernels, products.ctypes.data, scratch=room.end)
                if shift is not None:
                    products[1, 1] += shift
                result_of(products, results[piece])


class _WeightGradient:
    """The gradient of the weight [M, C / groups, 3, 3], and of the bias, of what was filtered."""

    def __init__(self, geometry: Geometry, sums: tuple):
        self._image, self._result = _rows(geometry.image), _rows(geometry.result)
        self._padding, groups = geometry.padding[::2], geometry.groups
        c, m = self._image[-1], self._result[-1]
        self._tiles = tiles = _Tiles(self._result, geometry.threads)

        def products(images: int, adds: bool) -> _Products:
            rows = images * tiles.count
            left, right = _operand(rows, width(m), m // groups), _operand(rows, width(c), c // groups)
            return _Products((m // groups, rows, c // groups), (_transposed(left), right, sums), groups, rows, adds)

        self._first, self._further = (
            tiles.pieces.tools(functools.partial(products, adds=adds)) for adds in (False, True)
        )
        numbers, terms = math.prod(geometry.weight[:2]), tiles.pieces.shares * _PRODUCTS
        self._matrix = np.tile(_KERNEL, (tiles.pieces.shares, 1))
        self._transform_back = matrix_product(
            onednn.Layout([numbers, terms], [1, numbers]), onednn.dense([terms, 9]), onednn.dense([numbers, 9])
        )
        self._sums_size = 4 * _PRODUCTS * numbers
        self._room = tiles.room(width(c), width(m), self._first + self._further)

    def __call__(self, image: int, gradient: int, weight_gradient: int, bias_gradient: int | None = None) -> None:
        with exclusive:
            shares = self._tiles.pieces.shares
            sums = workspace.address(shares * (self._sums_size + self._room))
            images, gradients = array_at(image, self._image), array_at(gradient, self._result)
            totals = None if bias_gradient is None else np.zeros([shares, self._result[-1]])
            in_shares(functools.partial(self._share, images, gradients, sums, totals), shares)
            self._transform_back(sums, self._matrix.ctypes.data, weight_gradient)
            if totals is not None:
                array_at(bias_gradient, totals.shape[1:])[:] = totals.sum(0)

    def _share(
        self, images: np.ndarray, gradients: np.ndarray, sums: int, totals: np.ndarray | None, share: int
    ) -> None:
        tiles, pieces, products = self._tiles.grid, self._tiles.pieces, self._first
        own, behind = sums + share * self._sums_size, sums + pieces.shares * self._sums_size + share * self._room
        with operands_uncopied():
            for piece in pieces.of_share[share]:
                room = Room(behind)
                image = image_tiles(images[piece], self._padding, tiles, room)
                gradient = gradient_tiles(gradients[piece], tiles, room)
                multiply = products[share][image.shape[2]]
                multiply(gradient.ctypes.data, image.ctypes.data, own, scratch=room.end)
                products = self._further
                if totals is not None:
                    totals[share] += gradient[1, 1, ..., : totals.shape[1]].sum((0, 1, 2))


def _rows(shape: tuple[int, ...]) -> tuple[int, ...]:
    n, c, h, w = shape
    return n, h, w, c


def _turned(geometry: Geometry) -> Geometry:
    """What leads from the result back to the image."""
    weight = geometry.image[1], geometry.result[1] // geometry.groups, *geometry.weight[2:]
    top, bottom, left, right = geometry.padding
    padding = 2 - top, 2 - bottom, 2 - left, 2 - right
    return geometry._replace(image=geometry.result, weight=weight, padding=padding, biased=False)


def _halved(extent: int) -> int:
    return -(-extent // 2)


def _operand(rows: int, width: int, per_group: int) -> tuple[list[int], int]:
    return [rows * width, width, 1], per_group


def _transposed(operand: tuple[list[int], int]) -> tuple[list[int], int]:
    (product, row, column), step = operand
    return [product, column, row], step


def serves(geometry: Geometry) -> bool:
    """Whether a geometry can be computed this way: matrices of a single channel are misread by oneDNN."""
    m, per_group, *kernel = geometry.weight
    return (
        kernel == [3, 3]
        and geometry.stride == geometry.dilation == (1, 1)
        and max(geometry.padding) <= 2
        and min(per_group, m // geometry.groups) > 1
        and min(geometry.result) >= 1
    )


def pays_in_filtering(geometry: Geometry) -> bool:
    """Whether the result and the gradient of the image are better computed this way."""
    enough = min(geometry.weight[:2]) >= _FEWEST_TO_FILTER
    return enough and geometry.groups == 1 and pays_in_weight_gradient(geometry)


def pays_in_weight_gradient(geometry: Geometry) -> bool:
    """Whether the gradient of the weight is better computed this way: in less time, with fewer digits lost."""
    m, per_group, *_ = geometry.weight
    n, _, height, width = geometry.result
    return (
        serves(geometry)
        and min(per_group, m // geometry.groups) >= _FEWEST_CHANNELS
        and n * _halved(height) * _halved(width) >= _FEWEST_TILES
    )


class Steps:
    """The functions of one geometry, called with addresses as oneDNN's primitives are."""

    def __init__(self, geometry: Geometry):
        if not serves(geometry):
            raise onednn.Unsupported("not a 3x3 convolution of stride 1 and several channels a group")
        self._geometry = geometry
        outputs, per_group = geometry.weight[:2]
        self._kernels = [outputs * per_group, per_group, 1], outputs // geometry.groups * per_group

    @functools.cached_property
    def _filter(self) -> _Filter:
        return _Filter(self._geometry, _transposed(self._kernels), _KERNEL)

    @functools.cached_property
    def image_gradient(self) -> _Filter:
        """(gradient of the result, weight, gradient of the image)"""
        return _Filter(_turned(self._geometry), self._kernels, _TURNED_KERNEL)

    @functools.cached_property
    def weight_gradient(self) -> _WeightGradient:
        """(image, gradient of the result, gradient of the weight, [gradient of the bias])"""
        return _WeightGradient(self._geometry, self._kernels)

    def forward(self, image: int, weight: int, *others: int) -> None:
        """(image, weight, [bias], result)"""
        *bias, result = others
        self._filter(image, weight, result, *bias)
