"""Ghost, Het, Mix, group, depthwise separable and octave convolution against their definitions."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from ppeconv import UserError, create_operator
from ppeconv.operators.octaveconv import Octaves
from ppeconv.operators.parts import shuffle

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def random_bias(layer):
    for parameter in layer.parameters():
        if parameter.ndim == 1 and not parameter.stop_gradient:
            parameter.set_value(paddle.randn(parameter.shape))
    return layer


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("outputs", "ratio"), [(12, 2), (13, 2), (14, 4)])
def test_ghost(outputs, ratio, stride):
    layer = random_bias(create_operator("Ghost", 6, outputs, 3, stride, 1, ratio=ratio, cheap_kernel=5))
    x = paddle.randn([2, 6, 9, 8])
    y1 = F.conv2d(x, layer.primary.weight, layer.primary.bias, stride, 1)
    y2 = F.conv2d(y1, layer.cheap.weight, layer.cheap.bias, 1, 2, groups=y1.shape[1])
    expected = paddle.concat([y1, y2], axis=1)[:, :outputs]
    np.testing.assert_allclose(layer(x).numpy(), expected.numpy(), **CLOSE)


def test_ghost_module_of_the_paper():
    layer = create_operator("GhostConv", 6, 8, 1, inner="bn_relu")
    x = paddle.randn([4, 6, 5, 5])
    y1 = F.relu(F.batch_norm(F.conv2d(x, layer.primary[0].weight), *_statistics(4), training=True))
    y2 = F.relu(F.batch_norm(F.conv2d(y1, layer.cheap[0].weight, padding=1, groups=4), *_statistics(4), training=True))
    np.testing.assert_allclose(layer(x).numpy(), paddle.concat([y1, y2], axis=1).numpy(), **CLOSE)


def _statistics(channels):
    return [paddle.zeros([channels]), paddle.ones([channels]), paddle.ones([channels]), paddle.zeros([channels])]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("parts", [2, 3, 6])
def test_het_is_grouped_plus_pointwise_minus_grouped_pointwise(parts, stride):
    layer = random_bias(create_operator("Het", 6, 12, 3, stride, 1, parts=parts))
    x = paddle.randn([2, 6, 9, 8])
    pointwise = np.zeros([12, 6, 1, 1], "float32")
    own = np.random.randn(12, 6 // parts, 1, 1).astype("float32")
    stored = layer.pointwise.conv.weight.numpy()
    for out in range(12):
        group = out * parts // 12
        mine = range(group * 6 // parts, (group + 1) * 6 // parts)
        pointwise[out, [i for i in range(6) if i not in mine]] = stored[out]
        pointwise[out, list(mine)] = own[out]
    expected = (
        F.conv2d(x, layer.spatial.weight, layer.spatial.bias, stride, 1, groups=parts)
        + F.conv2d(x, paddle.to_tensor(pointwise), stride=stride)
        - F.conv2d(x, paddle.to_tensor(own), stride=stride, groups=parts)
    )
    for mode in (layer.train, layer.eval):
        mode()
        np.testing.assert_allclose(layer(x).numpy(), expected.numpy(), **CLOSE)


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 0), (1, 2)])
def test_het_has_one_gradient_in_both_of_its_forms(stride, padding):
    layer, images = create_operator("Het", 6, 12, 3, stride, padding, parts=3), paddle.randn([2, 6, 9, 8])

    def gradients(mode):
        mode()
        layer.clear_gradients()
        x = paddle.to_tensor(images, stop_gradient=False)
        layer(x).square().sum().backward()
        return [x.grad.numpy(), *(it.grad.numpy() for it in layer.parameters())]

    for training, evaluating in zip(gradients(layer.train), gradients(layer.eval), strict=True):
        np.testing.assert_allclose(training, evaluating, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("stride", [1, 2])
def test_mixed_depthwise(stride):
    layer = create_operator("Mix", 8, 8, 3, stride, 1, groups=8, kernel_sizes=[3, 5, 7])
    x = paddle.randn([2, 8, 11, 10])
    parts = [
        F.conv2d(part, conv.conv.weight, conv.conv.bias, stride, size // 2, groups=part.shape[1])
        for part, conv, size in zip(x.split([4, 2, 2], axis=1), layer.depthwise, (3, 5, 7), strict=True)
    ]
    np.testing.assert_allclose(layer(x).numpy(), paddle.concat(parts, axis=1).numpy(), **CLOSE)


def test_mix_with_one_kernel_is_depthwise():
    layer = random_bias(create_operator("MixConv", 8, 8, 3, padding=1, groups=8, kernel_sizes=[3]))
    plain = nn.Conv2D(8, 8, 3, padding=1, groups=8)
    plain.set_state_dict(layer.depthwise[0].conv.state_dict())
    x = paddle.randn([2, 8, 9, 9])
    np.testing.assert_allclose(layer(x).numpy(), plain(x).numpy(), **CLOSE)


@pytest.mark.parametrize("order", ["dw_pw", "pw_dw"])
def test_depthwise_separable_without_anything_between_is_one_convolution(order):
    """Its kernel is the product of the two."""
    layer = create_operator("DepthwiseSeparableConv", 5, 7, 3, order=order, between="none", bias_attr=False)
    first, second = layer.convs[0].weight, layer.convs[1].weight
    kernel = first.transpose([1, 0, 2, 3]) * second if order == "dw_pw" else first * second
    x = paddle.randn([2, 5, 9, 9])
    np.testing.assert_allclose(layer(x).numpy(), F.conv2d(x, kernel).numpy(), **CLOSE)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("alpha_in", "alpha_out"), [(0.25, 0.5), (0.0, 0.5), (0.5, 0.0)])
def test_octave(alpha_in, alpha_out, stride):
    layer = random_bias(create_operator("Octave", 8, 12, 3, stride, 1, alpha_in=alpha_in, alpha_out=alpha_out))
    core, low_in, low_out = layer.core, int(8 * alpha_in), int(12 * alpha_out)
    x = paddle.randn([2, 8, 8, 12])

    def half(value):
        return F.avg_pool2d(value, 2, 2)

    def twice(value):
        return F.interpolate(value, scale_factor=2, mode="nearest")

    high, low = x[:, : 8 - low_in], half(x[:, 8 - low_in :]) if low_in else None
    down = half if stride == 2 else lambda value: value
    y = core.high_to_high(down(high))
    if low_in:
        y = y + (core.low_to_high(low) if stride == 2 else twice(core.low_to_high(low)))
    if low_out:
        y_low = core.high_to_low(half(down(high)))
        y_low = y_low + core.low_to_low(down(low)) if low_in else y_low
        y = paddle.concat([y, twice(y_low)], axis=1)
    np.testing.assert_allclose(layer(x).numpy(), y.numpy(), **CLOSE)


def test_octave_parts_are_those_of_one_weight():
    """On an image of one colour the resolutions do not differ, and the inherited weights give the host's output."""
    plain = nn.Conv2D(8, 12, 3)
    layer = create_operator("OctaveConv", 8, 12, 3, padding=1, alpha=0.5)
    assert layer.inherit(plain)
    x = paddle.randn([2, 8, 1, 1]).expand([2, 8, 12, 12])
    inner = layer(x)[:, :, 4:8, 4:8]
    np.testing.assert_allclose(inner.numpy(), plain(x)[:, :, 4:8, 4:8].numpy(), rtol=1e-4, atol=1e-4)


def test_two_tensor_octaves_keep_their_resolutions():
    layer = create_operator("OctaveConv", 8, 16, 3, 2, 1, alpha=0.5, two_tensor=True)
    y = layer(Octaves(paddle.randn([2, 4, 9, 11]), paddle.randn([2, 4, 5, 6])))
    assert y.high.shape == [2, 8, 5, 6]
    assert y.low.shape == [2, 8, 3, 3]


@pytest.mark.parametrize("groups", [1, 8])
def test_two_tensor_layers_of_one_resolution_pool_too(groups):
    layer = create_operator("OctaveConv", 8, 8, 3, 2, 1, groups=groups, alpha=0.0, two_tensor=True)
    x, plain = paddle.randn([2, 8, 9, 11]), nn.Conv2D(8, 8, 3, 2, 1, groups=groups)
    assert layer.inherit(plain)
    means = F.avg_pool2d(x, 2, 2, ceil_mode=True)
    expected = F.conv2d(means, plain.weight, plain.bias, padding=1, groups=groups)
    np.testing.assert_allclose(layer(x).numpy(), expected.numpy(), **CLOSE)


@pytest.mark.parametrize(
    ("operator", "own"),
    [
        ("Ghost", {"ratio": 1}),
        ("Het", {"parts": 1}),
        ("Octave", {"alpha": 0.0}),
        ("Group", {"conv_groups": 1}),
        ("CompConv", {"depth": 0}),
        ("SpatialVersatileConv", {"form": "sum"}),
        ("ChannelVersatileConv", {"delta": 0}),
        ("ParallelDownsample", {"share": 0.0}),
        ("KernelReplaceConv", {"form": "stacked"}),
        ("MaskedVersatileConv", {"secondaries": 1}),
    ],
)
@pytest.mark.parametrize("stride", [1, 2])
def test_degenerate_settings_are_the_plain_convolution(operator, own, stride):
    layer = random_bias(create_operator(operator, 6, 10, 3, stride, 1, **own))
    state = dict(layer.named_parameters())
    weight = next(value for name, value in state.items() if name.endswith("weight"))
    bias = next(value for name, value in state.items() if name.endswith("bias"))
    assert len(state) == 2
    if operator == "MaskedVersatileConv":
        layer.proxy.set_value(paddle.ones(layer.proxy.shape))
    if operator == "SpatialVersatileConv":
        weight = weight * paddle.to_tensor([[1.0, 1, 1], [1, 2, 1], [1, 1, 1]])
    x = paddle.randn([2, 6, 9, 8])
    np.testing.assert_allclose(layer(x).numpy(), F.conv2d(x, weight, bias, stride, 1).numpy(), **CLOSE)


@pytest.mark.parametrize("operator", ["SpatialVersatileConv", "VersatileConv", "CompConv", "GhostConv"])
def test_versatile_1x1_and_friends_keep_every_channel(operator):
    for outputs in range(1, 12):
        assert create_operator(operator, 5, outputs, 1)(paddle.randn([1, 5, 3, 3])).shape == [1, outputs, 3, 3]


def test_channel_shuffle():
    x = paddle.arange(12, dtype="float32").reshape([1, 12, 1, 1])
    assert shuffle(x, 3).flatten().tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert (shuffle(shuffle(x, 3), 4) == x).all()
    assert shuffle(x[:, :5], 2).flatten().tolist() == [0, 2, 1, 3, 4]


@pytest.mark.parametrize(
    ("operator", "arguments", "own", "words"),
    [
        ("Ghost", (8, 8, 3), {"ratio": 0}, "ratio should be an integer from 1"),
        ("Ghost", (8, 8, 3), {"cheap_kernel": 2}, "cheap_kernel should be an integer from 1 to 63, odd; got 2"),
        ("Ghost", (8, 8, 3, 1, 1, 1, 2), {}, "stands in for a dense convolution"),
        ("Het", (6, 8, 3), {}, "divide the input and the output channels"),
        ("Het", (8, 8, 1), {}, "above 1x1"),
        ("Mix", (8, 8, 3), {"kernel_sizes": [3, 4]}, "odd kernel_sizes"),
        ("Mix", (2, 8, 3), {"kernel_sizes": [3, 5, 7]}, "1 to 2 kernel_sizes"),
        ("Mix", (8, 8, 3, 1, 1, 1, 2), {}, "dense or a depthwise"),
        ("Group", (6, 8, 3), {"conv_groups": 4}, "conv_groups that divide"),
        ("Octave", (8, 8, 3), {"alpha": 1.0}, "below 1"),
        ("Octave", (8, 8, 3, 3), {}, "stride 1 or 2"),
        ("Octave", (8, 8, 3), {"two_tensor": True}, "keeps the size"),
        ("Octave", (8, 8, 2), {}, "odd kernel"),
    ],
)
def test_refusals_are_sentences(operator, arguments, own, words):
    with pytest.raises(UserError, match=words):
        create_operator(operator, *arguments, **own)
