"""Networks that run at any width: what follows from their definitions (facts 4.1 to 4.4, 5 and 10)."""

import copy
import threading

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn

import ppeconv
from ppeconv import UserError, anywidth, create_model
from ppeconv.anywidth import Channels, Layout, TriangularConv2D, TriangularLinear
from ppeconv.anywidth.blocks import BlockConv2D
from ppeconv.anywidth.channels import triangle
from ppeconv.anywidth.width import any_width_layers
from ppeconv.deployment.export import export
from ppeconv.engine.average import WeightAverage
from ppeconv.registry import OPTIMIZERS, SCHEDULES

NETWORKS = [
    ("LeNet3C1L", {"width": 2**0.5}, [1, 28, 28]),
    ("ResNet20", {"shortcut": "A"}, [3, 32, 32]),
    ("ResNet20", {"shortcut": "B", "width": 1.4142}, [3, 32, 32]),
    ("MobileNetV2", {"stem": "cifar", "divisor": 1, "width": 0.5, "class_num": 10}, [3, 32, 32]),
]
UNTRAINED = (0.9, 0.61, 0.37, 0.13)


@pytest.fixture
def float64():
    """Networks in double precision, in which a sum of another order differs by little."""
    paddle.set_default_dtype("float64")
    yield
    paddle.set_default_dtype("float32")


def converted(name, kind, arguments=None, **keywords):
    """A network with statistics that do something, converted."""
    model = create_model(name, **(arguments or {}))
    for layer in model.sublayers():
        if isinstance(layer, (nn.BatchNorm1D, nn.BatchNorm2D)):
            layer._mean.set_value(0.1 * paddle.randn(layer._mean.shape))
            layer._variance.set_value(paddle.rand(layer._mean.shape) + 0.5)
            layer.weight.set_value(paddle.rand(layer.weight.shape) + 0.5)
            layer.bias.set_value(0.1 * paddle.randn(layer.bias.shape))
    return anywidth.make_anywidth(model, kind, **keywords)


def activations(model, images, width):
    """The output of every any-width layer but the last one, in the order in which they run."""
    seen = []
    hooks = [
        layer.register_forward_post_hook(lambda layer, inputs, output: seen.append((layer, output)))
        for layer in any_width_layers(model)
    ]
    with model.at_width(width):
        model(images)
    for hook in hooks:
        hook.remove()
    return [(layer, output) for layer, output in seen if not layer.outputs.whole]


def largest_prefix_difference(model, images):
    """Largest difference of any activation at a narrow width from the same channels at full width."""
    full, worst = activations(model, images, 1.0), 0.0
    for width in UNTRAINED:
        for (layer, wide), (same, narrow) in zip(full, activations(model, images, width), strict=True):
            assert layer is same
            assert narrow.shape[1] == layer.outputs.is_active(width).sum()
            first = wide.numpy()[:, layer.outputs.is_active(width)]
            worst = max(worst, np.abs(first - narrow.numpy()).max() / max(np.abs(first).max(), 1e-6))
    return worst


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("name", "arguments", "shape"), NETWORKS)
def test_awn_activations_do_not_depend_on_the_width(name, arguments, shape, training, float64):
    model, images = converted(name, "awn", arguments), paddle.randn([2, *shape])
    model.train() if training else model.eval()
    assert largest_prefix_difference(model, images) < 1e-12


@pytest.mark.parametrize(("name", "arguments", "shape"), [NETWORKS[0], NETWORKS[2]])
def test_plain_slicing_does_not_have_that_property(name, arguments, shape):
    model, images = converted(name, "snet", arguments), paddle.randn([2, *shape])
    model.train()
    for norm in model.sublayers():
        if isinstance(norm, anywidth.PrivateBatchNorm):
            norm.widths = [1.0, *UNTRAINED]  # the plain norm of the batch, so that the slicing alone makes a difference
            norm.norms = nn.LayerList([norm.norms[-1]] * 5)
    assert largest_prefix_difference(model, images) > 0.05


def test_zeros_at_the_end_of_shortcut_a_break_it():
    model = converted("ResNet20", "awn", {"shortcut": "A"})
    shortcut = model.layer2[0].downsample
    assert np.flatnonzero(shortcut.source >= 0)[:4].tolist() == [0, 3, 5, 7]
    assert sorted(shortcut.source[shortcut.source >= 0]) == list(range(16))
    model.eval()
    images = paddle.randn([2, 3, 32, 32])
    at_the_end = converted("ResNet20", "snet", {"shortcut": "A"}).layer2[0].downsample.source
    assert at_the_end.tolist() == [*range(16), *[-1] * 16]
    shortcut.source = at_the_end
    assert largest_prefix_difference(model, images) > 0.01


@pytest.mark.parametrize(("channels", "kept"), [(45, 1035), (32, 528)])
def test_square_triangle(channels, kept):
    mask = triangle(Layout.of(Channels(channels)), Layout.of(Channels(channels)))
    assert mask.sum() == kept
    assert (mask == np.tri(channels, dtype=bool)).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 4, 8]))
def test_a_channel_reads_what_is_active_whenever_it_is(inputs, outputs, divisor):
    reads, writes = Channels(inputs, divisor=divisor), Channels(outputs, divisor=divisor)
    mask = triangle(Layout.of(writes), Layout.of(reads))
    widths = np.linspace(1e-3, 1, 400)
    for output in range(outputs):
        active = [reads.active(width) for width in widths if writes.active(width) > output]
        assert mask[output].sum() <= min(active)
        assert mask[output, : mask[output].sum()].all()


@given(st.integers(1, 200), st.floats(0.01, 1), st.sampled_from([1, 8]))
def test_channel_counts_grow_with_the_width(total, width, divisor):
    channels = Channels(total, divisor=divisor)
    assert 1 <= channels.active(width) <= channels.active(min(1.0, width + 0.05)) <= total == channels.active(1)
    opening = channels.opening(total - 1)
    assert channels.active(1) == total
    assert opening == 0 or channels.active(np.nextafter(opening, 0)) < total == channels.active(opening)


def test_channels_are_rounded_as_python_does():
    assert [Channels(45).active(width) for width in (1, 0.75, 0.5, 0.25)] == [45, 34, 22, 11]
    hidden = Channels(96, divisor=8, follows=Channels(16, divisor=8))
    assert [hidden.active(width) for width in (1, 0.75, 0.5, 0.35)] == [96, 96, 48, 48]


PLAIN = [(7_146_624, 7_146_624), (4_057_440,) * 2, (1_836_608,) * 2, (484_128,) * 2]
PLAIN_32 = [(10_570_944,) * 2, (6_093_456,) * 2, (2_839_136,) * 2, (807_984,) * 2]
TRIANGULAR = [(14_018_580, 7_302_420), (8_054_600, 4_248_776), (3_420_824, 1_853_720), (889_548, 516_428)]
TRIANGULAR_32 = [(20_455_650, 10_995_210), (11_881_436, 6_520_520), (5_165_204, 2_957_768), (1_426_326, 900_746)]


@pytest.mark.parametrize(
    ("kind", "side", "stored", "active", "macs"),
    [
        ("usnet", 28, 40_522, 40_522, PLAIN),
        ("snet", 28, 40_810, 40_522, PLAIN),
        ("awn", 28, 76_870, 43_210, TRIANGULAR),
        ("usnet", 32, 43_978, 43_978, PLAIN_32),
        ("snet", 32, 44_266, 43_978, PLAIN_32),
        ("awn", 32, 81_730, 48_070, TRIANGULAR_32),
    ],
)
def test_counts_of_lenet(kind, side, stored, active, macs):
    arguments = {"in_channels": 1 if side == 28 else 3, "image_size": side, "width": 2**0.5 if kind == "awn" else 1.0}
    model = create_model("LeNet3C1L", **arguments, anywidth={"kind": kind})
    size = [1, arguments["in_channels"], side, side]
    counts = [anywidth.count_width(model, size, width) for width in (1, 0.75, 0.5, 0.25)]
    assert (counts[0].stored_params, counts[0].active_params) == (stored, active)
    assert [(count.macs, count.active_macs) for count in counts] == macs
    assert anywidth.width_of(model) == 1


def test_counts_of_slimmable_mobilenetv2():
    model = create_model("MobileNetV2", anywidth={"kind": "snet", "widths": [1, 0.75, 0.5, 0.35], "divisor": 8})
    for width, macs in ((0.35, 59_285_808), (0.5, 97_131_840), (0.75, 209_069_792), (1, 300_774_272)):
        assert anywidth.count_width(model, [1, 3, 224, 224], width).macs == macs
        with model.at_width(width):
            active = sum(layer.active_params() for layer in any_width_layers(model))
        assert active == ppeconv.parameter_count(create_model("MobileNetV2", width=width))
    published, norms_of_the_last_convolution = 3_556_456, 3 * 2 * 1280
    assert ppeconv.parameter_count(model) == published + norms_of_the_last_convolution


def test_private_norms_of_twenty_widths_cost_what_source_004_says():
    plain = ppeconv.parameter_count(create_model("MobileNetV2", class_num=10))
    model = create_model("MobileNetV2", class_num=10)
    anywidth.make_anywidth(model, "snet", widths=np.linspace(0.25, 1, 20).tolist(), divisor=8)
    assert ppeconv.parameter_count(model) / plain - 1 == pytest.approx(0.185, abs=0.005)


@pytest.mark.parametrize(("name", "arguments", "shape"), NETWORKS[:3])
@pytest.mark.parametrize("kind", ["awn", "snet", "usnet"])
def test_a_width_equals_the_network_of_its_weights(name, arguments, shape, kind):
    model, images = converted(name, kind, arguments), paddle.randn([2, *shape])
    model.eval()
    anywidth.calibrate(model, paddle.randn([8, *shape]), [0.5, 0.3])
    for width in (0.5, 0.3):
        small = anywidth.narrow(model, width)
        with model.at_width(width):
            np.testing.assert_allclose(small(images).numpy(), model(images).numpy(), rtol=1e-4, atol=1e-5)
        assert not any(type(layer).__module__.startswith("ppeconv.anywidth.layers") for layer in small.sublayers())
        assert not hasattr(small, "at_width")
        counts = anywidth.count_width(model, [1, *shape], width)
        assert ppeconv.count(small, [1, *shape]).macs == counts.macs
        assert ppeconv.parameter_count(small) >= counts.active_params
    assert anywidth.width_of(model) == 1


def test_snet_at_width_one_is_the_plain_network_with_the_first_norms():
    plain = create_model("LeNet3C1L")
    model = anywidth.make_anywidth(copy.deepcopy(plain), "snet")
    images = paddle.randn([4, 1, 28, 28])
    for network in (plain, model):
        network.eval()
    np.testing.assert_allclose(model(images).numpy(), plain(images).numpy(), rtol=1e-5)
    sizes = [norm.weight.shape[0] for norm in model.features[1].norms]
    assert sizes == [8, 16, 24, 32]
    model.train()
    with pytest.raises(UserError, match="trained at its own widths"), model.at_width(0.3):
        model(images)


@pytest.mark.parametrize("width", [1.0, 0.4])
def test_calibration_gives_the_statistics_of_training(width):
    model, images = converted("ResNet20", "usnet"), paddle.randn([12, 3, 32, 32])
    with model.at_width(width):
        model.train()
        expected = model(images).numpy()
        model.eval()
        with pytest.raises(UserError, match=f"no statistics at width {width:g} yet; measure them"):
            model(images)
        anywidth.calibrate(model, [images[:5], images[5:]])
        np.testing.assert_allclose(model(images).numpy(), expected, rtol=1e-3, atol=2e-5)
    restored = converted("ResNet20", "usnet")
    restored.set_state_dict(model.state_dict())
    if width == 1:
        restored.eval()
        np.testing.assert_allclose(restored(images).numpy(), expected, rtol=1e-3, atol=2e-5)


def steps(model, optimizer, count=3):
    average = WeightAverage(model, 0.9)
    for step in range(count):
        for width in (1.0, 0.5):
            with model.at_width(width):
                F.cross_entropy(
                    model(paddle.randn([4, 1, 28, 28])), paddle.to_tensor([[step], [1], [2], [3]])
                ).backward()
        optimizer.step()
        optimizer.clear_grad()
        average.update()
    return average


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_masked_weights_stay_exactly_zero(name):
    model = converted("LeNet3C1L", "awn", {"width": 0.5})
    decay = {"weight_decay": 0.1} if OPTIMIZERS.accepts(name, "weight_decay") else {}
    if OPTIMIZERS.accepts(name, "regularizer"):
        decay = {"regularizer": {"name": "L2", "coeff": 0.1}}
    schedule = SCHEDULES.create("Constant", 1, 1, learning_rate=0.05)
    before = model.features[3].weight.numpy().copy()
    average = steps(model, OPTIMIZERS.create(name, schedule, model, **decay))
    for path in ("features.3", "features.7"):
        layer = dict(model.named_sublayers())[path]
        masked = np.broadcast_to(~layer.mask.numpy(), layer.weight.shape)
        assert masked.any()
        assert (layer.weight.numpy()[masked] == 0).all()
        assert (average.values[f"{path}.weight"].numpy()[masked] == 0).all()
    assert (model.features[3].weight.numpy() != before)[model.features[3].mask.numpy()[:, :, 0, 0]].all()


def test_the_mask_is_in_the_state_dict_and_survives_it():
    model = converted("LeNet3C1L", "awn", {"width": 0.5})
    assert {"features.3.mask", "features.7.mask"} <= model.state_dict().keys()
    assert not {"features.0.mask", "fc.mask"} & model.state_dict().keys()
    other = converted("LeNet3C1L", "awn", {"width": 0.5})
    other.set_state_dict(model.state_dict())
    images = paddle.randn([2, 1, 28, 28])
    for network in (model, other):
        network.eval()
    np.testing.assert_array_equal(model(images).numpy(), other(images).numpy())


def test_awn_keeps_the_weights_it_does_not_mask():
    plain = create_model("LeNet3C1L")
    before = {name: value.numpy().copy() for name, value in plain.state_dict().items()}
    model = anywidth.make_anywidth(plain, "awn")
    assert model is plain
    for name, value in before.items():
        mask = model.state_dict().get(name.removesuffix("weight") + "mask")
        expected = value if mask is None else value * mask.numpy()
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), expected, err_msg=name)


def test_stand_alone_layers():
    net = nn.Sequential(
        TriangularConv2D(3, 16, 3, padding=1, fixed_in=True),
        nn.ReLU(),
        TriangularConv2D(16, 32, 3, stride=2, bias_attr=False),
        nn.AdaptiveAvgPool2D(1),
        nn.Flatten(),
        TriangularLinear(32, 20),
        anywidth.AnyWidthLinear(20, 5, fixed_out=True),
    )
    images = paddle.randn([2, 3, 9, 9])
    full = net(images)
    with anywidth.set_width(net, 0.5):
        assert net[:6](images).shape == [2, 10]
        half = net[:6](images)
    np.testing.assert_allclose(net[:6](images).numpy()[:, :10], half.numpy(), rtol=1e-5, atol=1e-6)
    assert full.shape == net(images).shape == [2, 5]
    assert net[0].mask.numpy().all()
    with pytest.raises(UserError, match="has 2 groups of 4 channels, and a group cannot be cut"):
        TriangularConv2D(8, 8, 3, groups=2)


class Inception(nn.Layer):
    """A user's own network: a concatenation, depthwise layers, a gate, an addition, functional calls."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2D(3, 12, 3, padding=1)
        self.left, self.right = nn.Conv2D(12, 10, 1), nn.Conv2D(12, 14, 3, padding=1)
        self.norm = nn.BatchNorm2D(24)
        self.depthwise = nn.Conv2D(24, 48, 3, padding=1, groups=24)
        self.squeeze, self.excite = nn.Conv2D(48, 6, 1), nn.Conv2D(6, 48, 1)
        self.out = nn.Conv2D(48, 12, 1)
        self.fc1, self.norm1 = nn.Linear(12 * 16, 30), nn.BatchNorm1D(30)
        self.fc2 = nn.Linear(30, 7)

    def forward(self, x):
        x = F.relu6(self.stem(x))
        y = F.relu(self.norm(paddle.concat([self.left(x), self.right(x)], axis=1)))
        y = F.hardswish(self.depthwise(y))
        gate = F.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        x = F.max_pool2d(x + 0.5 * self.out(y * gate), 2)
        x = F.leaky_relu(self.norm1(self.fc1(F.adaptive_avg_pool2d(x, 4).flatten(1))))
        return self.fc2(F.dropout(x, training=self.training))


@pytest.mark.parametrize("kind", ["awn", "snet", "usnet"])
def test_a_users_own_network(kind):
    model = anywidth.make_anywidth(Inception(), kind)
    images = paddle.randn([6, 3, 24, 24])
    model.eval()
    anywidth.calibrate(model, images, [0.6])
    with model.at_width(0.6):
        assert model.stem(images).shape[1] == model.out.outputs.is_active(0.6).sum() == 7
        assert model.depthwise.active[1] is not None
        assert model(images).shape == [6, 7]
        small = anywidth.narrow(model, 0.6)
        np.testing.assert_allclose(small(images).numpy(), model(images).numpy(), rtol=1e-4, atol=1e-5)
    if kind == "awn":
        assert largest_prefix_difference(model, images) < 1e-4


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("LeNet", {}),
        ("VGG16Cifar", {"width": 0.25}),
        ("VGG16", {"width": 0.03, "batch_norm": True}),
        ("ResNet18", {"width": 0.25, "stem": "cifar"}),
        ("ResNet50", {"width": 0.125}),
        pytest.param("paddle.vision.resnet18", {}, marks=pytest.mark.full),
        ("paddle.vision.mobilenet_v3_small", {"scale": 0.5}),
    ],
)
def test_networks_convert_and_run(name, arguments):
    model = create_model(name, class_num=5, **arguments, anywidth={"kind": "awn"})
    shape = [1, 28, 28] if name == "LeNet" else [3, 64, 64]
    shape = [3, 32, 32] if name == "VGG16Cifar" else shape
    assert largest_prefix_difference(model.eval() or model, paddle.randn([2, *shape])) < 1e-4


@pytest.mark.parametrize("width", [1.0, 0.8])
def test_wide_triangles_run_without_most_of_their_zeros(width, tmp_path):
    model = nn.Sequential(
        nn.Conv2D(3, 160, 3, padding=1),
        nn.Conv2D(160, 200, 3, stride=2, padding=1, bias_attr=False),
        nn.Conv2D(200, 160, 1),
        nn.AdaptiveAvgPool2D(1),
        nn.Flatten(),
        nn.Linear(160, 4),
    )
    anywidth.make_anywidth(model, "awn")
    small, images = anywidth.narrow(model, width), paddle.randn([2, 3, 8, 8])
    assert [type(layer) for layer in small][:3] == [nn.Conv2D, BlockConv2D, nn.Conv2D]
    with model.at_width(width):
        np.testing.assert_allclose(small(images).numpy(), model(images).numpy(), rtol=1e-4, atol=1e-5)
    counts = anywidth.count_width(model, [1, 3, 8, 8], width)
    assert counts.active_macs < ppeconv.count(small, [1, 3, 8, 8]).macs < counts.macs
    export(small, tmp_path / "out", [3, 8, 8])


@pytest.mark.parametrize("kind", ["awn", "snet"])
def test_shortcut_a_is_exported_at_any_width(kind, tmp_path):
    model = anywidth.make_anywidth(create_model("ResNet20", shortcut="A"), kind)
    with model.at_width(0.4):
        assert export(model, tmp_path / "out", [3, 32, 32]) < 1e-5


def test_many_channels_are_told_apart():
    model = create_model("MobileNetV2", width=2**0.5, divisor=1, class_num=10, anywidth={"kind": "awn"})
    hidden = model.features[4].conv[0][0].outputs
    assert len(hidden) == 6 * 34
    for width in (0.3, 0.77):
        assert hidden.is_active(width).sum() == 6 * round(34 * width)


def test_operators_that_are_made_of_convolutions():
    model = create_model("ResNet20", operator="GhostConv", anywidth={"kind": "usnet"})
    images = paddle.randn([2, 3, 32, 32])
    anywidth.calibrate(model, images, [0.5])
    model.eval()
    with model.at_width(0.5):
        assert model(images).shape == [2, 10]


class Shuffled(nn.Layer):
    def __init__(self, forward):
        super().__init__()
        self.first, self.second = nn.Conv2D(3, 16, 3, padding=1), nn.Conv2D(16, 16, 3, padding=1)
        self.fc, self.way = nn.Linear(16, 4), forward

    def forward(self, x):
        return self.fc(self.way(self, self.first(x)).mean([2, 3]))


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        (
            lambda net, x: net.second(x.reshape([-1, 16, 32, 32])),
            r"Shuffled does not run at width 0.\d+ .*seems to hold",
        ),
        (lambda net, x: net.second(paddle.concat(x.chunk(2, 1)[::-1], 1)), r"second gets other channels than those"),
        (lambda net, x: net.second(x) + F.channel_shuffle(x, 2), r"different channels meet in Shuffled"),
        (
            lambda net, x: net.second(x / x.sum(1, keepdim=True)),
            r"Shuffled gets values whose channels cannot be followed",
        ),
        (lambda net, x: net.second(F.channel_shuffle(x, 2)), r"at width 0.\d+ second gets other channels"),
        (lambda net, x: x, r"second does not run in Shuffled's forward"),
    ],
)
def test_what_cannot_be_followed_is_refused_and_nothing_changes(way, sentence):
    model = Shuffled(way)
    before = model.second.weight.numpy().copy()
    with pytest.raises(UserError, match=sentence):
        anywidth.make_anywidth(model)
    assert (model.second.weight.numpy() == before).all()
    assert type(model.first) is nn.Conv2D
    assert type(model.fc) is nn.Linear
    assert not any(True for _ in any_width_layers(model))


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (nn.GroupNorm(2, 4), r"1 is a GroupNorm with parameters of its own"),
        (nn.Conv2D(4, 4, 3, groups=2), r"1 cannot run at any width: it has 2 groups of 2 channels"),
        (nn.Conv2D(4, 4, 3, padding=1, padding_mode="reflect"), r"it pads with zeros .*'reflect'"),
    ],
)
def test_layers_that_cannot_be_cut_are_named(layer, sentence):
    with pytest.raises(UserError, match=sentence):
        anywidth.make_anywidth(nn.Sequential(nn.Conv2D(3, 4, 3), layer))


def test_bad_input():
    model = create_model("LeNet3C1L")
    with pytest.raises(UserError, match="LeNet3C1L has one width only; make_anywidth"):
        anywidth.set_width(model, 0.5)
    with pytest.raises(UserError, match=r"no any-width network of kind 'snett'.*'snet'"):
        anywidth.make_anywidth(model, "snett")
    with pytest.raises(UserError, match=r"widths of an S-Net should hold 1, .*0.5"):
        anywidth.make_anywidth(model, "snet", widths=[0.5, 0.25])
    with pytest.raises(UserError, match=r"whole names 'features.33', and no layer is called so; did you mean 'feat"):
        anywidth.make_anywidth(model, "snet", whole=["features.33"])
    with pytest.raises(UserError, match=r"above 0 and at most 1; got 1.5"):
        anywidth.make_anywidth(model, "snet", widths=[1.5, 1])
    anywidth.make_anywidth(model)
    for width in (0, -1, 1.01, "half"):
        with pytest.raises(UserError, match="above 0 and at most 1"):
            anywidth.set_width(model, width)
    with pytest.raises(UserError, match="runs at any width already"):
        anywidth.make_anywidth(model)
    with pytest.raises(UserError, match=r"does not run \(at \[1, 1, 20, 20\].*give input_size"):
        anywidth.make_anywidth(create_model("LeNet"), input_size=[1, 1, 20, 20])
    with pytest.raises(UserError, match="no Conv2D and no Linear"):
        anywidth.make_anywidth(nn.Sequential(nn.ReLU()))
    with pytest.raises(UserError, match=r"features.18.1 would normalise .*leave the layer before it out of `whole`"):
        anywidth.make_anywidth(create_model("MobileNetV2", width=0.25), whole=["features.18.0"])


def test_the_width_is_a_state_of_the_network():
    one, other = converted("LeNet3C1L", "awn"), converted("LeNet3C1L", "awn")
    anywidth.set_width(one, 0.5)
    assert (anywidth.width_of(one), anywidth.width_of(other)) == (0.5, 1)
    with one.at_width(0.25):
        with anywidth.set_width(one, 0.75):
            assert anywidth.width_of(one) == 0.75
        assert anywidth.width_of(one) == 0.25
    assert anywidth.width_of(one) == 0.5
    twin = copy.deepcopy(one)
    anywidth.set_width(twin, 1.0)
    assert anywidth.width_of(one) == 0.5

    images, results = paddle.randn([2, 1, 28, 28]), {}
    networks = {width: anywidth.narrow(other, width) for width in (0.25, 0.5, 1.0)}

    def run(width):
        results[width] = [networks[width](images).numpy() for _ in range(3)]

    threads = [threading.Thread(target=run, args=[width]) for width in networks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for width, outputs in results.items():
        with other.at_width(width):
            np.testing.assert_allclose(outputs[-1], other(images).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["awn", "snet", "usnet"])
def test_mode_freezing_type_and_hooks_survive_conversion_and_narrowing(kind):
    model = nn.Sequential(nn.Conv2D(3, 8, 3), nn.BatchNorm2D(8), nn.Conv2D(8, 8, 1), nn.ReLU())
    model.eval()
    model.to(dtype="float64")
    for parameter in model[1].parameters():
        parameter.stop_gradient, parameter.optimize_attr = True, {"learning_rate": 0.5}
    model[2].weight.optimize_attr["learning_rate"] = 0.1
    seen = []
    handle = model[2].register_forward_post_hook(lambda layer, inputs, output: seen.append(output.dtype))
    wide = anywidth.make_anywidth(model, kind, input_size=[1, 3, 8, 8])
    seen.clear()
    for network in (wide, anywidth.narrow(wide, 1.0)):
        assert not any(layer.training for layer in network.sublayers(include_self=True))
        assert {value.dtype for value in network.parameters()} == {paddle.float64}
        assert all(value.stop_gradient for value in network[1].parameters())
        assert network[1].parameters()[0].optimize_attr["learning_rate"] == 0.5
        assert network[2].weight.optimize_attr["learning_rate"] == 0.1
        network(paddle.zeros([1, 3, 8, 8], "float64"))
    assert seen == [paddle.float64] * 2
    handle.remove()
    wide(paddle.zeros([1, 3, 8, 8], "float64"))
    assert len(seen) == 2


def test_weight_norm_is_refused_before_conversion():
    model = nn.Sequential(nn.Conv2D(3, 8, 3), nn.utils.weight_norm(nn.Conv2D(8, 8, 3)))
    with pytest.raises(UserError, match="1 cannot run at any width: it has weight norm"):
        anywidth.make_anywidth(model, input_size=[1, 3, 8, 8])
