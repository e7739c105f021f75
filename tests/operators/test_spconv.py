"""SPConv against its definition."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppeconv import UserError, create_operator
from ppeconv.operators.parts import crop_or_pad
from ppeconv.operators.spconv import SPConv, representative_channels


def published(layer, x, kernel, stride):
    """The definition for padding (k - 1) / 2, in plain functional calls on the layer's weights."""

    def normed(value, bn):
        return F.batch_norm(value, bn._mean.clone(), bn._variance.clone(), bn.weight, bn.bias, layer.training)

    r = layer.gwc.weight.shape[1] * 2
    a, b = x[:, :r], x[:, r:]
    pool = (lambda value: F.avg_pool2d(value, 2, 2)) if stride == 2 else (lambda value: value)
    gwc = F.conv2d(a, layer.gwc.weight, layer.gwc.bias, stride, (kernel - 1) // 2, groups=2)
    u3 = normed(gwc + F.conv2d(pool(a), layer.pwc.weight, layer.pwc.bias), layer.bn3)
    u1 = normed(F.conv2d(pool(b), layer.redundant.weight, layer.redundant.bias), layer.bn1)
    shares = F.softmax(paddle.stack([u3.mean([2, 3]), u1.mean([2, 3])], 2), axis=2)
    return u3 * shares[:, :, 0, None, None] + u1 * shares[:, :, 1, None, None]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("branch_bias", [False, True])
def test_equals_the_formula(kernel, stride, training, branch_bias):
    layer = SPConv(16, 24, kernel, stride, (kernel - 1) // 2, ratio=0.5, branch_bias=branch_bias)
    for bn in (layer.bn3, layer.bn1):
        bn._mean.set_value(np.random.randn(24).astype("float32"))
        bn._variance.set_value(np.random.rand(24).astype("float32") + 0.5)
    layer.train() if training else layer.eval()
    x = paddle.randn([4, 16, 12, 10])
    expected = published(layer, x, kernel, stride).numpy()
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("ratio", "branch_bias", "params"), [(0.5, False, 3488), (0.5, True, 3552)])
def test_published_parameter_counts(ratio, branch_bias, params):
    layer = create_operator("SPConv", 32, 32, 3, padding=1, ratio=ratio, branch_bias=branch_bias)
    assert sum(p.size for p in layer.parameters() if not p.stop_gradient) == params


def test_official_biases_whatever_the_host_has():
    for bias_attr in (None, False):
        layer = SPConv(8, 8, 3, padding=1, bias_attr=bias_attr)
        assert layer.gwc.bias is None
        assert layer.pwc.bias is None
        assert layer.redundant.bias is not None


@given(
    channels=st.integers(3, 300),
    ratio=st.sampled_from([1 / 2, 1 / 4, 1 / 8, 1 / 16, 0.9, 0.01]),
    groups=st.integers(1, 4),
)
def test_representative_channels(channels, ratio, groups):
    if channels <= groups:
        return
    r = representative_channels(channels, SPConv.Arguments(ratio=ratio, gwc_groups=groups))
    assert r % groups == 0
    assert groups <= r < channels
    assert r == groups * round(ratio * channels / groups) or r in (groups, (channels - 1) // groups * groups)


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.one_of(st.integers(0, 4), st.tuples(*[st.integers(0, 4)] * 4)),
    height=st.integers(14, 19),
    width=st.integers(14, 19),
)
def test_output_has_the_shape_of_the_convolution(kernel, stride, dilation, padding, height, width):
    padding = padding if isinstance(padding, int) else list(padding)
    x = paddle.randn([2, 5, height, width])
    expected = paddle.nn.Conv2D(5, 6, kernel, stride, padding, dilation)(x).shape
    assert SPConv(5, 6, kernel, stride, padding, dilation)(x).shape == expected


@pytest.mark.parametrize(("padding", "stride"), [(0, 1), (1, 1), (2, 1), (3, 1), ([0, 1, 2, 3], 1), (1, 2), (2, 2)])
def test_branches_see_the_pixels_under_the_kernels_centre(padding, stride):
    """A k x k kernel that is zero but at its centre reads the same pixels as a 1x1 kernel on the reframed input."""
    layer = SPConv(8, 4, 5, stride, padding, gwc_groups=1)
    centre = np.zeros(layer.gwc.weight.shape, "float32")
    centre[:, :, 2, 2] = np.random.randn(4, 4)
    layer.gwc.weight.set_value(centre)
    x = paddle.randn([1, 8, 11, 11])
    framed = crop_or_pad(x, layer.margin)[:, :4, ::stride, ::stride]
    expected = F.conv2d(framed, paddle.to_tensor(centre[:, :, 2:3, 2:3]))
    np.testing.assert_allclose(layer.gwc(x[:, :4]).numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "own", "words"),
    [
        ((2, 4, 3), {}, "more than 2 input channels"),
        ((8, 7, 3), {}, "divisible by gwc_groups=2"),
        ((8, 8, 2), {}, "odd kernel"),
        ((8, 8, 3, 2, "SAME"), {}, "does not depend on the input size"),
        ((8, 8, 3, 1, 1, 1, 2), {}, "groups=2"),
        ((8, 8, 3), {"ratio": 1.0}, "ratio should be a number above 0 and below 1; got 1.0"),
        ((8, 8, 3), {"gwc_groups": 0}, "gwc_groups should be an integer from 1 to"),
    ],
)
def test_refusals_are_sentences(arguments, own, words):
    with pytest.raises(UserError, match=words):
        create_operator("SPConv", *arguments, **own)


def test_a_small_branch_scale_opens_both_branches_alike_and_changes_nothing_else():
    paddle.seed(0)
    x = paddle.randn([4, 8, 9, 9]) + paddle.randn([4, 1, 1, 1])
    layers = [SPConv(8, 16, 3, padding=1, branch_scale=scale) for scale in (1.0, 1e-4)]
    weights = layers[0].state_dict()
    layers[1].set_state_dict(
        {name: value for name, value in weights.items() if name not in ("bn3.weight", "bn1.weight")}
    )
    assert (layers[1].bn1.weight.numpy() == np.float32(1e-4)).all()
    full, small = (layer(x) for layer in layers)
    centre = x[:, 4:]
    u3 = layers[0].bn3(layers[0].gwc(x[:, :4]) + layers[0].pwc(x[:, :4]))
    u1 = layers[0].bn1(layers[0].redundant(centre))
    np.testing.assert_allclose(small.numpy() * 1e4, (u3 + u1).numpy() / 2, rtol=1e-3, atol=1e-3)
    assert np.abs(full.numpy() - (u3 + u1).numpy() / 2).max() > 0.05
