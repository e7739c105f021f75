"""3x3 convolutions by Winograd's minimal filtering, and the work that threads share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle.nn import functional as F

from ppeconv import backend
from ppeconv.cpu.library import onednn, openmp
from ppeconv.cpu.library.threads import Pieces, in_shares
from ppeconv.cpu.library.window import Geometry
from ppeconv.cpu.training import conv, direct, winograd
from tests.support.precision import assert_accurate, normal, results
from tests.support.steps import check_steps

pytestmark = pytest.mark.skipif(not backend.available()[0], reason=backend.available()[1])


@st.composite
def geometries(draw, fewest_channels=2):
    groups, padding = draw(st.sampled_from([1, 1, 2, 3])), draw(st.tuples(*[st.integers(0, 2)] * 4))
    size = [draw(st.integers(max(1, 3 - sum(it)), 9)) for it in (padding[:2], padding[2:])]
    image = (draw(st.integers(1, 5)), groups * draw(st.integers(fewest_channels, 9)), *size)
    weight = (groups * draw(st.integers(fewest_channels, 9)), image[1] // groups, 3, 3)
    return Geometry(image, weight, (1, 1), padding, (1, 1), groups, draw(st.booleans()), draw(st.integers(1, 3)))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(geometries())
def test_any_geometry(geometry):
    check_steps(winograd.Steps(geometry), geometry)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(geometries(fewest_channels=1))
def test_any_geometry_directly(geometry):
    check_steps(direct.Steps(geometry), geometry)


@pytest.mark.parametrize(
    ("image", "weight", "changes"),
    [
        ((2, 1, 8, 8), (4, 1, 3, 3), {}),
        ((2, 4, 8, 8), (1, 4, 3, 3), {}),
        ((2, 3, 8, 8), (3, 1, 3, 3), {"groups": 3}),
        ((2, 4, 8, 8), (4, 4, 3, 3), {"stride": (2, 1)}),
        ((2, 4, 8, 8), (4, 4, 3, 3), {"dilation": (1, 2)}),
        ((2, 4, 8, 8), (4, 4, 3, 3), {"padding": (3, 0, 0, 0)}),
        ((2, 4, 8, 8), (4, 4, 3, 5), {}),
        ((2, 4, 1, 8), (4, 4, 3, 3), {"padding": (0, 0, 1, 1)}),
    ],
)
def test_other_geometries_are_refused(image, weight, changes):
    usual = Geometry(image, weight, (1, 1), (1, 1, 1, 1), (1, 1), 1, False, 2)
    with pytest.raises(onednn.Unsupported):
        winograd.Steps(usual._replace(**changes))


@pytest.mark.parametrize(
    ("image", "outputs", "padding"),
    [
        ((8, 64, 9, 11), 64, 1),
        ((8, 128, 8, 8), 160, 1),
        ((3, 256, 14, 13), 128, [0, 2, 1, 0]),
        ((16, 192, 6, 6), 96, "SAME"),
        pytest.param((16, 512, 4, 4), 512, 1, marks=pytest.mark.full),
        pytest.param((4, 64, 56, 56), 64, 1, marks=pytest.mark.full),
    ],
)
def test_many_channels_are_accurate(image, outputs, padding):
    operands = normal(*image), normal(outputs, image[1], 3, 3), normal(outputs)
    assert_accurate(lambda *it: F.conv2d(*it, padding=padding), *operands)


def geometry(**changes):
    usual = Geometry((8, 128, 8, 8), (128, 128, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1, False, 2)
    return usual._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "filtering", "of_weight"),
    [
        ({}, True, True),
        ({"image": (8, 256, 8, 8), "weight": (256, 128, 3, 3), "groups": 2}, False, True),
        ({"image": (8, 32, 8, 8), "weight": (128, 32, 3, 3)}, False, False),
        ({"stride": (2, 1)}, False, False),
        ({"dilation": (1, 2)}, False, False),
        ({"padding": (3, 1, 1, 1)}, False, False),
        ({"weight": (128, 128, 3, 1)}, False, False),
        ({"image": (1, 128, 8, 8)}, False, False),
    ],
)
def test_what_is_taken_follows_from_shapes(changes, filtering, of_weight):
    assert winograd.pays_in_filtering(geometry(**changes)) is filtering
    assert winograd.pays_in_weight_gradient(geometry(**changes)) is of_weight
    plan = conv.plan(geometry(**changes))
    assert isinstance(plan.weight_gradient, type(winograd.Steps(geometry()).weight_gradient)) is of_weight


@pytest.mark.parametrize(
    ("fewest_to_filter", "fewest", "filtering", "of_weight"),
    [(64, 64, True, True), (128, 64, False, True), (128, 128, False, False)],
)
def test_64_channels_are_taken_as_the_cpu_says(fewest_to_filter, fewest, filtering, of_weight, monkeypatch):
    monkeypatch.setattr(winograd, "_FEWEST_TO_FILTER", fewest_to_filter)
    monkeypatch.setattr(winograd, "_FEWEST_CHANNELS", fewest)
    narrow = geometry(image=(8, 64, 8, 8), weight=(64, 64, 3, 3))
    assert winograd.pays_in_filtering(narrow) is filtering
    assert winograd.pays_in_weight_gradient(narrow) is of_weight


def test_a_thread_count_changes_rounding_alone():
    operands, found = [normal(8, 128, 8, 8), normal(128, 128, 3, 3)], []
    for threads in (1, 2, 3):
        with backend.enabled(), openmp.using_threads(threads):
            found.append(results(lambda x, w: F.conv2d(x, w, padding=1), operands))
    for others in found[1:]:
        for one, first in zip(others, found[0], strict=True):
            np.testing.assert_allclose(one, first, rtol=1e-4, atol=1e-5 * np.abs(first).max())


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 50))
def test_pieces_cover_the_batch_once(images, threads, together):
    pieces = Pieces(images, threads, together)
    listed = [piece for share in pieces.of_share for piece in share]
    assert [it for piece in listed for it in range(images)[piece]] == list(range(images))
    assert {piece.stop - piece.start for piece in listed} == set(pieces.sizes)
    assert max(pieces.sizes) <= together
    assert len(pieces.of_share) == pieces.shares == min(images, threads)


@pytest.mark.parametrize("shares", [1, 2, 7])
def test_every_share_is_worked_on_once(shares):
    done = []
    in_shares(done.append, shares)
    assert sorted(done) == list(range(shares))


@pytest.mark.parametrize("shares", [1, 2])
def test_a_failing_share_fails_the_call_and_the_next_call_works(shares):
    def work(share):
        if share == shares - 1:
            raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"):
        in_shares(work, shares)
    test_every_share_is_worked_on_once(shares)
