"""CompConv against the definition of its reconstruction."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppeconv import UserError, create_backbone, create_operator, replace_conv
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.compconv import CompConv, fitting_depth, wanted_depth
from ppeconv.operators.parts import shuffle


def definition(layer, x, depth, stride):
    """A_0, B_0, A_1, B_1, ... by the recursion, then the shuffle."""
    unit = layer.first.weight.shape[0]
    b = {depth - 1: F.conv2d(x, layer.first.weight, layer.first.bias, stride, 1)}
    for i in range(depth - 2, -1, -1):
        conv = layer.others[depth - 2 - i]
        b[i] = F.conv2d(b[i + 1], conv.weight, conv.bias, padding=1)
        assert b[i].shape[1] == 2 ** (depth - 1 - i) * unit
    a = {0: F.conv2d(b[0], layer.others[-1].weight, layer.others[-1].bias, padding=1)}
    source, start = F.avg_pool2d(x, 2, 2) if stride == 2 else x, 0
    for i in range(1, depth):
        a[i] = source[:, start : start + 2 ** (depth - 1 - i) * unit]
        start += 2 ** (depth - 1 - i) * unit
    return shuffle(paddle.concat([part for i in range(depth) for part in (a[i], b[i])], axis=1), 2)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("outputs", [28, 41])
def test_equals_the_definition(depth, outputs, stride):
    layer = create_operator("CompConv", 16, outputs, 3, stride, 1, depth=depth)
    for bias in (layer.first.bias, *(conv.bias for conv in layer.others)):
        bias.set_value(paddle.randn(bias.shape))
    x = paddle.randn([2, 16, 8, 10])
    expected = definition(layer, x, depth, stride)
    assert expected.shape[1] == outputs
    np.testing.assert_allclose(layer(x).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_copies_are_bit_exact_input_channels():
    layer = create_operator("CompConv", 16, 28, 3, padding=1, depth=3)
    x = paddle.randn([1, 16, 5, 5])
    y = layer(x)
    copied = [channel for channel in range(16) if any((y[:, out] == x[:, channel]).all().item() for out in range(28))]
    assert layer.copies == [4, 2]
    assert copied == list(range(6))


@settings(max_examples=60, deadline=None)
@given(inputs=st.integers(1, 600), outputs=st.integers(1, 600), depth=st.integers(0, 3))
def test_exactly_the_output_channels(inputs, outputs, depth):
    geometry = ConvGeometry.of(inputs, outputs, 1)
    fitting = fitting_depth(geometry, depth)
    layer = CompConv.of_geometry(geometry, depth=depth)
    assert layer(paddle.zeros([1, inputs, 1, 1])).shape == [1, outputs, 1, 1]
    assert fitting <= depth
    assert layer.depth == fitting


@pytest.mark.parametrize(
    ("outputs", "wanted", "fitting"),
    [*[(m, 3, 2) for m in (16, 17, 18, 19, 20, 29, 30)], (7, 2, 1), (8, 2, 1), (64, 3, 3), (1, 3, 0)],
)
def test_depth_is_lowered_where_no_channel_would_be_left(outputs, wanted, fitting):
    assert fitting_depth(ConvGeometry.of(64, outputs, 3), wanted) == fitting


def test_depth_is_lowered_where_the_input_has_too_few_channels_and_the_report_says_so():
    assert fitting_depth(ConvGeometry.of(64, 512, 3), 3) == 1
    _, report = replace_conv(create_backbone("ResNet20"), "CompConv", depth=3, dry_run=True)
    assert any("depth 2 (lowered from 3), reconstruction" in row.after for row in report.replaced)


@given(inputs=st.integers(1, 4096), base=st.sampled_from([32, 64, 128, 256, 512]))
def test_adaptive_depth(inputs, base):
    depth, more, coarser = (
        wanted_depth(ConvGeometry.of(channels, 8, 3), CompConv.Arguments(base_channels=constant))
        for channels, constant in ((inputs, base), (inputs + 1, base), (inputs, 2 * base))
    )
    assert depth == min(3, int(np.floor(np.log2(max(1, inputs / base)))) + 1)
    assert coarser <= depth <= more <= 3


def test_cost_falls_with_the_depth():
    costs = [CompConv.formula(ConvGeometry.of(256, 256, 3, 1, 1), 8, 8, depth=depth).macs for depth in range(4)]
    assert costs == sorted(costs, reverse=True)
    assert 0.18 < costs[3] / costs[0] < 0.23


def test_it_is_marked_as_a_reconstruction():
    assert "reconstruction" in CompConv.__doc__.splitlines()[0]


@pytest.mark.parametrize(("own", "words"), [({"depth": 4}, "from 0 to 3"), ({"base_channels": 0}, "from 1 to")])
def test_refusals_are_sentences(own, words):
    with pytest.raises(UserError, match=words):
        create_operator("CompConv", 8, 8, 3, **own)
