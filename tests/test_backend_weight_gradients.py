"""Gradients of a convolution's weight and bias, which are sums over all positions of a batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddle.nn import functional as F

from ppeconv import backend
from ppeconv.backend import conv, pointwise
from ppeconv.backend.window import Geometry
from tests.precision import normal, results

pytestmark = pytest.mark.skipif(not backend.available()[0], reason=backend.available()[1])


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(
    ("image", "weight", "options"),
    [
        ((48, 8, 16, 16), (16, 4, 3, 3), {"padding": 1, "groups": 2}),
        ((40, 16, 16, 16), (16, 4, 3, 3), {"padding": 1, "groups": 4}),
        ((48, 64, 16, 16), (64, 1, 3, 3), {"padding": 1, "groups": 64}),
        ((48, 3, 16, 16), (16, 3, 3, 3), {"padding": 1}),
        ((32, 32, 16, 16), (64, 32, 3, 3), {"padding": 1, "stride": 2}),
        ((32, 64, 12, 12), (24, 64, 1, 1), {}),
        ((61, 5, 13, 11), (7, 5, 1, 1), {}),
        ((1, 3, 53, 79), (5, 3, 1, 1), {}),
        ((40, 48, 16, 16), (24, 48, 1, 1), {"stride": 2}),
        ((40, 48, 16, 16), (24, 16, 1, 1), {"groups": 3}),
        ((40, 24, 16, 16), (48, 2, 1, 1), {"groups": 12}),
    ],
)
def test_large_batches_are_as_good_as_paddle(image, weight, options, biased):
    """One chain of sums over all images would be up to ten times worse."""
    operands = [normal(*image), normal(*weight), *([normal(weight[0])] if biased else [])]

    def convolution(*tensors):
        return F.conv2d(*tensors, **options)

    exact, stock = results(convolution, operands, "float64"), results(convolution, operands)
    with backend.enabled():
        fast = results(convolution, operands)
    for ours, theirs, truth in zip(fast[2:], stock[2:], exact[2:], strict=True):
        assert np.linalg.norm(ours - truth) <= 2 * np.linalg.norm(theirs - truth)


@given(st.integers(1, 100_000))
def test_positions_are_cut_into_equal_parts(positions):
    parts = pointwise._parts(positions)
    assert positions % parts == 0
    assert parts == 1 or 256 <= positions // parts <= 2048


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
