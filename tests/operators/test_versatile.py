"""Versatile filters, with fixed and with learned masks, against their definitions."""

import itertools

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn

from ppeconv import UserError, create_model, create_operator
from ppeconv.engine.losses import auxiliary_loss
from ppeconv.operators.maskedversatileconv import MaskedVersatileConv, freeze_masks, orthogonality


def ring_mask(kernel, ring):
    mask = np.zeros(kernel, "float32")
    mask[ring : kernel[0] - ring, ring : kernel[1] - ring] = 1
    return paddle.to_tensor(mask)


def masked(layer, x, stride, padding, dilation=1):
    """Convolutions with masks over whole kernels, one for each secondary filter."""
    channels = layer.weight.shape[1]
    outputs = [
        F.conv2d(
            x[:, use.start : use.start + channels],
            layer.weight[: use.filters] * ring_mask(layer.weight.shape[2:], use.ring),
            None,
            stride,
            padding,
            dilation,
        )
        for use in layer.bank.uses()
    ]
    return paddle.concat(outputs, axis=1) + layer.bias.reshape([1, -1, 1, 1])


@settings(max_examples=25, deadline=None)
@given(
    kernel=st.sampled_from([1, 2, 3, 4, 5, 7, (3, 5), (5, 2)]),
    stride=st.integers(1, 2),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
    outputs=st.integers(1, 13),
    delta=st.integers(0, 3),
)
def test_cropped_kernels_equal_masked_kernels(kernel, stride, padding, dilation, outputs, delta):
    layer = create_operator("VersatileConv", 4, outputs, kernel, stride, padding, dilation, delta=delta)
    layer.bias.set_value(paddle.randn([outputs]))
    x = paddle.randn([2, 4, 14, 16])
    expected = masked(layer, x, stride, padding, dilation)
    assert expected.shape[1] == outputs
    np.testing.assert_allclose(layer(x).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_uses_of_the_filters():
    spatial = create_operator("SpatialVersatileConv", 8, 12, 5)
    assert [tuple(use) for use in spatial.bank.uses()] == [(0, 0, 4), (1, 0, 4), (2, 0, 4)]
    sliding = create_operator("ChannelVersatileConv", 8, 10, 3, delta=4, channel_stride=2)
    assert [tuple(use) for use in sliding.bank.uses()] == [(0, 0, 4), (0, 2, 3), (0, 4, 3)]
    assert sliding.weight.shape == [4, 4, 3, 3]


def test_one_ring_and_one_place_are_the_plain_convolution():
    layer = create_operator("VersatileConv", 4, 6, 1, 2, delta=0)
    x = paddle.randn([2, 4, 9, 8])
    expected = F.conv2d(x, layer.weight, layer.bias, 2)
    np.testing.assert_allclose(layer(x).numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_summed_form_is_the_sum_of_the_rings():
    layer = create_operator("SpatialVersatileConv", 4, 6, 5, padding=2, bias_attr=False, form="sum")
    x = paddle.randn([2, 4, 9, 8])
    expected = sum(F.conv2d(x, layer.weight * ring_mask([5, 5], ring), padding=2) for ring in range(3))
    np.testing.assert_allclose(layer(x).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("own", "words"),
    [({"delta": 4}, "delta below the 4 input channels"), ({"delta": 3, "channel_stride": 2}, "divides delta=3")],
)
def test_refusals_are_sentences(own, words):
    with pytest.raises(UserError, match=words):
        create_operator("ChannelVersatileConv", 4, 8, 3, **own)


# learned masks


@pytest.mark.parametrize("scheme", ["shared", "per_filter"])
@pytest.mark.parametrize("outputs", [6, 7])
def test_learned_masks(scheme, outputs):
    layer = create_operator("MaskedVersatileConv", 4, outputs, 3, padding=1, scheme=scheme)
    x = paddle.randn([2, 4, 6, 7])
    masks = (layer.proxy.numpy() > 0.5).astype("float32")
    filters = paddle.to_tensor((layer.weight.numpy() * masks).reshape([-1, 4, 3, 3])[:outputs])
    np.testing.assert_allclose(
        layer(x).numpy(), F.conv2d(x, filters, layer.bias, padding=1).numpy(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("scheme", ["shared", "per_filter"])
def test_gradients_of_filters_and_masks(scheme):
    """dL/df = sum_j dL/df^_j o M_j, dL/dH_j = dL/df^_j o f, summed over the filters that share a mask."""
    layer = create_operator("MaskedVersatileConv", 3, 8, 3, scheme=scheme, bias_attr=False)
    x, upstream = paddle.randn([2, 3, 6, 6]), paddle.randn([2, 8, 4, 4])
    (layer(x) * upstream).sum().backward()
    masks = layer.masks().detach()
    filters = (layer.weight * masks).detach()
    filters.stop_gradient = False
    (F.conv2d(x, filters.flatten(0, 1)) * upstream).sum().backward()
    np.testing.assert_allclose(layer.weight.grad.numpy(), (filters.grad * masks).sum(0).numpy(), rtol=1e-3, atol=1e-4)
    proxies = filters.grad * layer.weight
    expected = proxies.sum(1, keepdim=True) if scheme == "shared" else proxies
    np.testing.assert_allclose(layer.proxy.grad.numpy(), expected.numpy(), rtol=1e-3, atol=1e-4)


def rings(kernel):
    masks = [ring_mask([kernel, kernel], ring) for ring in range((kernel + 1) // 2)]
    return paddle.stack(masks).unsqueeze([1, 2])


def partition(count):
    return paddle.eye(count).repeat_interleave(4, axis=1).reshape([count, 1, -1])


@pytest.mark.parametrize(
    ("masks", "loss"),
    [
        *[(paddle.ones([s, 5, 3, 3, 3]), s * (s - 1) / 2) for s in (2, 3, 4)],
        *[(paddle.zeros([s, 5, 3, 3, 3]), s / 2) for s in (2, 3, 4)],
        *[(partition(s), s / 2 * (1 - 1 / s) ** 2) for s in (2, 3, 4)],
        (rings(3), 0.4074),
        (rings(5), 0.7984),
        (rings(7), 1.2620),
    ],
)
def test_orthogonality(masks, loss):
    assert float(orthogonality(masks)) == pytest.approx(loss, abs=1e-4)


def test_gradient_of_the_orthogonality():
    masks = (paddle.rand([3, 1, 20]) > 0.5).astype("float32")
    masks.stop_gradient = False
    orthogonality(masks).backward()
    m = masks.detach().squeeze(1).T
    expected = 2 / 20**2 * m @ m.T @ m - 2 / 20 * m
    np.testing.assert_allclose(masks.grad.squeeze(1).T.numpy(), expected.numpy(), atol=1e-6)


def test_proxies_take_their_own_step():
    layer = create_operator("MaskedVersatileConv", 3, 8, 3, mask_lr=50.0, ortho=0.0)
    optimizer = paddle.optimizer.Momentum(0.1, 0.9, parameters=layer.parameters(), weight_decay=0.1)
    before = layer.proxy.numpy().copy()
    layer(paddle.randn([2, 3, 6, 6])).square().mean().backward()
    gradient = layer.proxy.grad.numpy().copy()
    optimizer.step()
    optimizer.clear_grad()
    assert (layer.proxy.numpy() == before).all()
    layer.after_step()
    np.testing.assert_allclose(layer.proxy.numpy(), np.clip(before - 50 * gradient, 0, 1), atol=1e-5)
    assert {0.0, 1.0} <= set(layer.proxy.numpy().ravel().tolist())
    assert layer.proxy.grad is None or not layer.proxy.grad.numpy().any()
    assert not layer.proxy.stop_gradient


def test_the_trainer_finds_the_loss_by_itself():
    model = create_model("ResNet20", operator="MaskedVersatileConv", operator_args={"ortho": 2.0})
    layers = [layer for layer in model.sublayers() if isinstance(layer, MaskedVersatileConv)]
    expected = sum(2 * float(orthogonality(layer.masks())) for layer in layers)
    assert float(auxiliary_loss(model)) == pytest.approx(expected, rel=1e-5)


def test_the_loss_pushes_equal_masks_apart():
    layer = create_operator("MaskedVersatileConv", 4, 8, 3, mask_lr=2.0, ortho=1.0)
    layer.proxy.set_value(0.5 + paddle.rand(layer.proxy.shape) / 2)
    losses = []
    for _ in range(40):
        loss = layer.auxiliary_loss()
        losses.append(float(loss))
        loss.backward()
        layer.after_step()
    assert losses[0] == pytest.approx(1.0, abs=1e-3)
    assert losses[-1] < 0.5


@pytest.mark.parametrize("scheme", ["shared", "per_filter"])
def test_frozen_masks_are_packed_bits(scheme, tmp_path):
    model = nn.Sequential(create_operator("MaskedVersatileConv", 3, 9, 3, scheme=scheme, secondaries=3), nn.ReLU())
    x = paddle.randn([2, 3, 6, 6])
    expected = model(x).numpy()
    frozen = freeze_masks(model)
    assert (frozen(x).numpy() == expected).all()
    filters = 1 if scheme == "shared" else 3
    assert frozen[0].bits.dtype == paddle.uint8
    assert frozen[0].bits.shape == [-(-3 * filters * 27 // 8)]
    paddle.jit.save(frozen, str(tmp_path / "net"), input_spec=[paddle.static.InputSpec([None, 3, 6, 6])])
    np.testing.assert_allclose(paddle.jit.load(str(tmp_path / "net"))(x).numpy(), expected, atol=1e-6)


def test_every_setting_has_its_channels():
    for outputs, secondaries in itertools.product(range(1, 7), range(1, 5)):
        layer = create_operator("MaskedVersatileConv", 2, outputs, 1, secondaries=secondaries)
        assert layer(paddle.randn([1, 2, 3, 3])).shape == [1, outputs, 3, 3]
