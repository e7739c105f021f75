"""The gradients of weight and bias of a 1x1 convolution as products of matrices, positions by positions.

oneDNN's own primitive takes 1.4 times as long on CPUs with AVX2, and its sums, through all positions, lose more digits.
"""

from __future__ import annotations

import functools
import math

from ppeconv.cpu.library.window import Geometry
from ppeconv.cpu.training.sums import ColumnSums, ProductSums

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
    def __init__(self, geometry: Geometry):
        n, outputs, height, width = geometry.result
        groups, positions = geometry.groups, math.prod((n, height, width))
        self._weight = ProductSums(positions, groups, outputs // groups, geometry.weight[1])
        self._bias = ColumnSums(positions, outputs) if geometry.biased else None

    def __call__(self, image: int, gradient: int, weight_gradient: int, bias_gradient: int | None = None) -> None:
        self._weight(gradient, image, weight_gradient)
        if self._bias is not None and bias_gradient is not None:
            self._bias(gradient, bias_gradient)


def pays(geometry: Geometry) -> bool:
    """Whether the gradients of weight and bias are better computed this way."""
    m, per_group = geometry.weight[:2]
    narrowest = min(per_group, m // geometry.groups)
    return geometry.is_pointwise and (geometry.groups == 1 or narrowest >= _FEWEST_CHANNELS)
