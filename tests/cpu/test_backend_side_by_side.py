"""Convolutions of small images side by side in a wide one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle.nn import functional as F

from ppeconv import backend
from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.window import Geometry
from ppeconv.cpu.training import conv, direct, side_by_side
from tests.support.precision import fast_results, normal, relative_error, results
from tests.support.runs import skip_without_bf16
from tests.support.steps import check_steps

pytestmark = pytest.mark.skipif(not backend.available()[0], reason=backend.available()[1])


@st.composite
def geometries(draw):
    groups, n, threads = draw(st.sampled_from([1, 1, 2, 3])), draw(st.integers(1, 12)), draw(st.integers(1, 2))
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, dilation = draw(pairs), draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    # Of strided 1x1 convolutions oneDNN serves those of many channels alone.
    stride = (1, 1) if kernel == (1, 1) else draw(pairs)
    reach = [gap * (extent - 1) for gap, extent in zip(dilation, kernel, strict=True)]
    left = draw(st.integers(0, reach[1]))
    padding = *draw(st.tuples(st.integers(0, 2), st.integers(0, 2))), left, draw(st.integers(0, 3))
    size = [
        draw(st.integers(max(1, 1 + it - sum(by)), 8)) for it, by in zip(reach, (padding[:2], padding[2:]), strict=True)
    ]
    image = n, groups * draw(st.integers(2, 9)), *size
    weight = groups * draw(st.integers(2, 9)), image[1] // groups, *kernel
    return Geometry(image, weight, stride, padding, dilation, groups, draw(st.booleans()), threads)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(geometries())
def test_any_geometry(geometry):
    check_steps(side_by_side.Steps(geometry), geometry)


def test_more_padding_than_a_kernel_reaches_is_refused():
    geometry = Geometry((8, 16, 4, 4), (16, 16, 1, 1), (1, 1), (0, 0, 1, 0), (1, 1), 1, False, 1)
    with pytest.raises(onednn.Unsupported):
        side_by_side.Steps(geometry)


def narrow(columns=4, image=(64, 512), kernel=3, stride=1, **changes):
    n, c = image
    padding = (kernel // 2,) * 4
    geometry = Geometry((n, c, 4, columns), (c, c, kernel, kernel), (stride, stride), padding, (1, 1), 1, False, 1)
    return geometry._replace(data_type=onednn.BFLOAT16, **changes)


@pytest.mark.parametrize(
    ("geometry", "gradient", "filtering"),
    [
        (narrow(), True, True),
        (narrow(8), True, False),
        (narrow(8, stride=2), True, True),
        (narrow(8, kernel=1, stride=2), True, False),
        (narrow(16), False, False),
        (narrow(8, (64, 32)), False, False),
        (narrow(4, (64, 32)), True, True),
        (narrow(2, (64, 8)), False, False),
        (narrow(4, kernel=1), True, True),
        (narrow(16, kernel=1), True, False),
        (narrow(17, kernel=1), False, False),
        (narrow(4, (1, 512)), False, False),
        (narrow(4, (53, 512)), False, False),
        (narrow(4, (64, 512), 3, weight=(512, 1, 3, 3), groups=512), False, False),
    ],
)
def test_what_is_computed_so_on_amx(monkeypatch, geometry, gradient, filtering):
    skip_without_bf16()
    monkeypatch.setattr(onednn.Recipe, "uses_amx", True)
    plan = conv._Plan(geometry)
    assert isinstance(plan._gradient, side_by_side.Steps) == gradient
    assert isinstance(plan._filters, side_by_side.Steps) == filtering


def test_other_kernels_take_images_one_by_one(monkeypatch):
    skip_without_bf16()
    monkeypatch.setattr(onednn.Recipe, "uses_amx", False)
    plan = conv._Plan(narrow())
    assert plan._filters is plan._gradient
    assert isinstance(plan._filters, direct.Steps)


def test_in_bf16_on_amx(monkeypatch):
    skip_without_bf16()
    conv.plan.cache_clear()
    monkeypatch.setattr(onednn.Recipe, "uses_amx", True)
    arrays = normal(16, 64, 4, 4), normal(64, 64, 3, 3), normal(64)
    exact = fast_results(lambda x, w, b: F.conv2d(x, w, b, padding=1), arrays)
    with backend.enabled("bf16"):
        found = results(lambda x, w, b: F.conv2d(x, w, b, padding=1), arrays)
    conv.plan.cache_clear()
    for ours, truth in zip(found, exact, strict=True):
        assert relative_error(ours, truth) <= 1e-2
