"""Nearest upsampling as runtimes need it: the same numbers, and exported."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

import ppeconv
from ppeconv.layers import upsampling


@pytest.mark.parametrize(
    "asked",
    [{"scale_factor": 2}, {"scale_factor": [3, 2]}, {"scale_factor": 1.0}, {"size": [10, 21]}, {"size": (5, 14)}],
    ids=str,
)
def test_rows_and_columns_are_repeated(asked, monkeypatch):
    used, repeated, x = [], upsampling.repeated, paddle.randn([2, 3, 5, 7])
    monkeypatch.setattr(upsampling, "repeated", lambda *given: used.append(given[1:]) or repeated(*given))
    expected = F.interpolate(x, mode="nearest", **asked)
    with upsampling.by_repeating():
        found = F.interpolate(x, mode="nearest", **asked)
    assert len(used) == 1
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


@pytest.mark.parametrize(
    "asked",
    [
        {"scale_factor": 2, "mode": "bilinear"},
        {"scale_factor": 1.5},
        {"scale_factor": 0.5},
        {"size": [8, 7]},
        {"scale_factor": 2, "data_format": "NHWC"},
    ],
    ids=str,
)
def test_what_repeats_nothing_is_left_to_paddle(asked, monkeypatch):
    monkeypatch.setattr(upsampling, "repeated", lambda *given: pytest.fail("repeated"))
    x, outside = paddle.randn([2, 3, 5, 7]), F.interpolate
    expected = F.interpolate(x, **asked)
    with upsampling.by_repeating():
        np.testing.assert_array_equal(F.interpolate(x, **asked).numpy(), expected.numpy())
    assert F.interpolate is outside


def test_a_network_with_upsampling_is_exported(tmp_path):
    net = nn.Sequential(nn.Conv2D(3, 4, 3, padding=1), nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2D(4, 2, 1))
    assert ppeconv.export(net, tmp_path / "net", [3, 8, 10]) <= 1e-5
