"""Convolutions read some of an image's channels where they lie."""

import numpy as np
import paddle
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from paddle import nn

from ppeconv import backend
from ppeconv.cpu.inference.executor import Executor
from ppeconv.cpu.inference.fuse import fused
from ppeconv.cpu.library.window import Geometry
from tests.cpu.test_executor import Calls, assert_same, executor_of
from tests.support.runs import skip_without_bf16

pytestmark = [
    pytest.mark.skipif(not backend.available()[0], reason=backend.available()[1]),
    pytest.mark.skipif(paddle.__version__.startswith("2"), reason="Paddle 2 writes programs of another kind"),
]

SHAPE = [24, 7, 9]
pair = st.tuples(st.integers(1, 2), st.integers(1, 2))


def convolution_of(first, last, *layer, **settings):
    return Calls(lambda x, convolution: convolution(x[:, first:last]), nn.Conv2D(last - first, *layer, **settings))


def kinds(run):
    return [step.kind for step in fused(run._graph, 1)]


@settings(max_examples=40, deadline=None)
@given(
    channels=st.sampled_from([1, 2, 3, 4, 8, 12]),
    place=st.integers(0, 23),
    multiple=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=pair,
    dilation=pair,
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    is_depthwise=st.booleans(),
    batch=st.integers(1, 3),
)
def test_as_paddle_computes_it(
    channels, place, multiple, kernel, stride, dilation, padding, is_depthwise, batch, tmp_path_factory
):
    first = place % (24 // channels) * channels
    groups = channels if is_depthwise else 1
    outputs = multiple * (channels if is_depthwise else 12)
    weight = outputs, channels // groups, *kernel
    geometry = Geometry((1, channels, *SHAPE[1:]), weight, stride, padding, dilation, groups, True, 1)
    assume(min(geometry.result[2:]) > 0)
    model = convolution_of(
        first, first + channels, outputs, kernel, stride, list(padding), dilation=dilation, groups=groups
    )
    run = executor_of(model, tmp_path_factory.mktemp("net"), SHAPE, threads=1)
    assert_same(model, run, SHAPE, batches=(batch,))


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("first", [0, 8, 16])
def test_nothing_is_copied(kernel, first, tmp_path):
    run = executor_of(convolution_of(first, first + 8, 16, kernel, padding=kernel // 2), tmp_path, SHAPE)
    assert kinds(run) == ["convolution"]


@pytest.mark.parametrize(("first", "last"), [(0, 10), (4, 12), (0, 23)])
def test_channels_that_are_no_whole_part_are_copied(first, last, tmp_path):
    model = convolution_of(first, last, 16, 3)
    run = executor_of(model, tmp_path, SHAPE)
    assert kinds(run) == ["cut", "convolution"]
    assert_same(model, run, SHAPE)


def test_rows_are_copied(tmp_path):
    model = Calls(lambda x, convolution: convolution(x[:, :, 2:]), nn.Conv2D(24, 16, 3))
    run = executor_of(model, tmp_path, SHAPE)
    assert kinds(run) == ["cut", "convolution"]
    assert_same(model, run, SHAPE)


def test_a_copy_that_others_read_stays(tmp_path):
    def both(x, convolution):
        part = x[:, :8]
        return convolution(part) + part

    model = Calls(both, nn.Conv2D(8, 8, 3, padding=1))
    run = executor_of(model, tmp_path, SHAPE)
    assert kinds(run) == ["cut", "convolution"]
    assert_same(model, run, SHAPE)


def test_in_bf16(tmp_path):
    skip_without_bf16()
    model = convolution_of(8, 16, 16, 3, padding=1)
    executor_of(model, tmp_path, SHAPE)
    run = Executor(tmp_path / "net", 1, "bf16")
    images = np.random.default_rng(0).standard_normal((2, *SHAPE), np.float32)
    expected = model(paddle.to_tensor(images)).numpy()
    assert 1e-5 < np.abs(run(images) - expected).max() / np.abs(expected).max() < 0.03
