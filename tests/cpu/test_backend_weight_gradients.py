"""Gradients of a convolution's weight and bias, which are sums over all positions of a batch."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle.nn import functional as F

from ppeconv import backend
from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.window import Geometry
from ppeconv.cpu.training import conv, direct, pointwise
from ppeconv.cpu.training.sums import ColumnSums, ProductSums
from tests.support.precision import assert_accurate, normal

pytestmark = pytest.mark.skipif(not backend.available()[0], reason=backend.available()[1])


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(
    ("image", "weight", "options"),
    [
        ((48, 8, 16, 16), (16, 4, 3, 3), {"padding": 1, "groups": 2}),
        ((40, 16, 16, 16), (16, 4, 3, 3), {"padding": 1, "groups": 4}),
        ((8, 16, 32, 32), (16, 4, 3, 3), {"padding": 1, "groups": 4}),
        ((5, 12, 45, 39), (24, 4, 3, 5), {"padding": [0, 1, 2, 0], "groups": 3, "stride": 2, "dilation": [2, 1]}),
        ((48, 64, 16, 16), (64, 1, 3, 3), {"padding": 1, "groups": 64}),
        ((48, 3, 16, 16), (16, 3, 3, 3), {"padding": 1}),
        ((32, 32, 16, 16), (64, 32, 3, 3), {"padding": 1, "stride": 2}),
        ((32, 64, 12, 12), (24, 64, 1, 1), {}),
        ((61, 5, 13, 11), (7, 5, 1, 1), {}),
        ((1, 3, 53, 79), (5, 3, 1, 1), {}),
        ((40, 48, 16, 16), (24, 48, 1, 1), {"stride": 2}),
        ((40, 48, 16, 16), (24, 16, 1, 1), {"groups": 3}),
        ((40, 24, 16, 16), (48, 2, 1, 1), {"groups": 12}),
        ((32, 1, 32, 32), (1, 1, 1, 1), {}),
        ((32, 1, 32, 32), (1, 1, 3, 3), {"padding": 1}),
        ((4, 1, 160, 160), (2, 1, 3, 3), {"padding": 1}),
        ((32, 16, 32, 32), (1, 16, 1, 1), {}),
        ((1, 1, 101, 99), (3, 1, 1, 1), {}),
        ((1, 64, 1, 1), (16, 64, 1, 1), {}),
    ],
)
def test_large_batches_are_accurate(image, weight, options, biased):
    """One chain of sums over all positions would lose up to ten times more."""
    operands = [normal(*image), normal(*weight), *([normal(weight[0])] if biased else [])]
    assert_accurate(lambda *it: F.conv2d(*it, **options), *operands)


@st.composite
def geometries_and_bands(draw):
    kernel, stride, dilation = ([draw(st.integers(1, most)) for _ in range(2)] for most in (4, 3, 2))
    padding = (*(draw(st.integers(0, kernel[0] - 1)) for _ in range(2)), 1, 0)
    size = [draw(st.integers(dilation[axis] * (kernel[axis] - 1) + 1, 15)) for axis in range(2)]
    geometry = Geometry((2, 3, *size), (4, 3, *kernel), tuple(stride), padding, tuple(dilation), 1, False, 1)
    return geometry, draw(st.integers(1, geometry.result[2]))


@given(geometries_and_bands())
def test_bands_make_up_the_whole(drawn):
    geometry, count = drawn
    image, weight = (paddle.to_tensor(normal(*it).astype("float64")) for it in (geometry.image, geometry.weight))

    def result(image, geometry):
        how = {"stride": geometry.stride, "dilation": geometry.dilation}
        return F.conv2d(image, weight, padding=list(geometry.padding), **how).numpy()

    whole, bands = result(image, geometry), geometry.bands(count)
    assert len(bands) == count
    for band, following in zip(bands, [*bands[1:], None], strict=True):
        part = result(image[:, :, band.image_row : band.image_row + band.geometry.image[2]], band.geometry)
        stop = whole.shape[2] if following is None else following.result_row
        np.testing.assert_allclose(part, whole[:, :, band.result_row : stop], atol=1e-12)


def test_large_images_and_those_of_narrow_groups_are_summed_up_in_bands():
    geometry = Geometry((8, 128, 32, 32), (128, 8, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 16, False, 2)
    images, bands = direct._cut(geometry)
    assert images == 1
    assert [it.result_row for it in bands] == [0, 16]
    assert [it.image_row for it in bands] == [0, 15]
    images, bands = direct._cut(geometry._replace(weight=(128, 128, 3, 3), groups=1))
    assert (images, len(bands)) == (1, 1)
    images, bands = direct._cut(geometry._replace(image=(8, 128, 64, 64), weight=(128, 128, 3, 3), groups=1))
    assert (images, len(bands)) == (1, 2)
    images, bands = direct._cut(geometry._replace(image=(8, 128, 8, 8)))
    assert (images, len(bands)) == (2, 1)


@pytest.mark.parametrize(
    ("image", "weight", "groups", "together"),
    [
        ((64, 16, 32, 32), (16, 4, 3, 3), 4, 2),
        ((64, 16, 32, 32), (16, 1, 3, 3), 16, 2),
        ((64, 1, 32, 32), (1, 1, 3, 3), 1, 2),
        ((64, 16, 8, 8), (16, 4, 3, 3), 4, 28),
    ],
)
def test_images_of_few_multiplications_are_taken_together_as_long_as_their_positions_are_few(
    image, weight, groups, together
):
    images, bands = direct._cut(Geometry(image, weight, (1, 1), (1, 1, 1, 1), (1, 1), groups, False, 2))
    assert (images, len(bands)) == (together, 1)


@given(st.integers(1, 3000), st.integers(1, 3), st.integers(1, 40), st.integers(1, 40))
@settings(deadline=None, max_examples=50)
def test_products_are_summed_up_over_all_positions(positions, groups, m, c):
    left, right = normal(positions, groups, m), normal(positions, groups, c)
    found, columns = np.full([groups, m, c], np.nan, "float32"), np.full([groups * m], np.nan, "float32")
    if groups == 1 or m > 1:
        ProductSums(positions, groups, m, c)(left.ctypes.data, right.ctypes.data, found.ctypes.data)
        np.testing.assert_allclose(found, np.einsum("pgm,pgc->gmc", left, right, dtype="float64"), rtol=0, atol=1e-3)
    ColumnSums(positions, groups * m)(left.ctypes.data, columns.ctypes.data)
    np.testing.assert_allclose(columns, left.reshape(positions, -1).sum(0, "float64"), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("m", "c", "chain"), [(1, 1, 64), (64, 64, 512), (24, 96, 307), (512, 512, 2048)])
def test_sums_of_few_numbers_are_short(m, c, chain):
    assert ProductSums(100_000, 1, m, c).chain == chain
    assert ProductSums(50, 1, m, c).chain == 50


def test_what_onednn_misreads_is_refused():
    row_with_gaps = onednn.Layout([4, 1, 8], [24, 1, 3])
    with pytest.raises(onednn.Unsupported, match="one row"):
        onednn.product_recipe(row_with_gaps, onednn.dense([4, 8, 5]), onednn.dense([4, 1, 5]))
    turned_row = onednn.Layout([4, 1, 8], [8, 1, 1])
    with pytest.raises(onednn.Unsupported, match="one row"):
        onednn.product_recipe(onednn.dense([4, 3, 1]), turned_row, onednn.dense([4, 3, 8]))


@pytest.mark.parametrize(
    ("changes", "as_product"),
    [
        ({}, True),
        ({"threads": 1, "biased": True}, True),
        ({"weight": (48, 8, 1, 1), "groups": 3}, True),
        ({"weight": (48, 1, 1, 1), "groups": 24}, False),
        ({"stride": (1, 2)}, False),
        ({"padding": (0, 1, 0, 0)}, False),
        ({"weight": (48, 24, 1, 3)}, False),
    ],
)
def test_what_is_computed_as_a_product_follows_from_shapes(changes, as_product):
    geometry = Geometry((4, 24, 9, 9), (48, 24, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, False, 2)._replace(**changes)
    assert pointwise.pays(geometry) is as_product
    gradient = conv.plan(geometry).weight_gradient
    assert isinstance(gradient, type(pointwise.Steps(geometry).weight_gradient)) is as_product
