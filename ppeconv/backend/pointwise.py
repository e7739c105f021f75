"""The gradients of weight and bias of a 1x1 convolution as products of matrices, positions by positions.

oneDNN's own primitive takes 1.4 times as long on CPUs with AVX2, and its sums, through all positions, lose more digits.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from . import onednn
from .threads import workspace
from .window import Geometry

# Positions summed up in one go, and how many fewer they may become where no divisor is near.
_CHAIN, _SHORTER = 2048, 4
# Channels of a group below which its product takes longer.
_FEWEST_CHANNELS = 2


class Steps:
    """The one function of a geometry that is better computed this way, built when first needed."""

    def __init__(self, geometry: Geometry):
        self._geometry = geometry

    @functools.cached_property
    def weight_gradient(self) -> _WeightGradient:
        """(image, gradient of the result, gradient of the weight, [gradient of the bias])"""
        return _WeightGradient(self._geometry)


class _WeightGradient:
    """The products of parts of the positions, and their sum."""

    def __init__(self, geometry: Geometry):
        n, outputs, height, width = geometry.result
        groups, inputs = geometry.groups, geometry.image[1]
        positions, m, c = n * height * width, outputs // groups, inputs // groups
        self._parts = parts = _parts(positions)
        chain = positions // parts
        image = onednn.Layout([parts, groups, chain, c], [chain * inputs, c, inputs, 1])
        gradient = onednn.Layout([parts, groups, m, chain], [chain * outputs, m, 1, outputs])
        self._weight = onednn.matrix_product(gradient, image, onednn.dense([parts, groups, m, c]))
        if geometry.biased:
            ones = onednn.dense([1, 1, chain, 1])
            self._bias = onednn.matrix_product(gradient, ones, onednn.dense([parts, groups, m, 1]))
        self._shapes, self._ones = ((outputs, c), (outputs, 1)), np.ones(chain, np.float32)

    def __call__(self, image: int, gradient: int, weight_gradient: int, bias_gradient: int | None = None) -> None:
        self._sum(self._weight, gradient, image, weight_gradient, self._shapes[0])
        if bias_gradient is not None:
            self._sum(self._bias, gradient, self._ones.ctypes.data, bias_gradient, self._shapes[1])

    def _sum(self, product: onednn.Primitive, left: int, right: int, result: int, shape: tuple[int, ...]) -> None:
        if self._parts == 1:
            return product(left, right, result)
        with onednn.exclusive, np.errstate(all="ignore"):
            products = workspace.address(4 * self._parts * math.prod(shape))
            product(left, right, products)
            np.add.reduce(onednn.array_at(products, (self._parts, *shape)), 0, out=onednn.array_at(result, shape))


def _parts(positions: int) -> int:
    """Into how many equal parts so many positions are cut."""
    fewest = -(-positions // _CHAIN)
    return next((it for it in range(fewest, _SHORTER * fewest + 1) if positions % it == 0), 1)


def pays(geometry: Geometry) -> bool:
    """Whether the gradients of weight and bias are better computed this way."""
    m, per_group, *kernel = geometry.weight
    narrowest = min(per_group, m // geometry.groups)
    return (
        kernel == [1, 1]
        and geometry.stride == (1, 1)
        and geometry.padding == (0, 0, 0, 0)
        and (geometry.groups == 1 or narrowest >= _FEWEST_CHANNELS)
    )
