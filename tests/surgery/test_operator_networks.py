"""Every operator inside networks: what the matrix calls applicable works."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

import ppeconv
from ppeconv import UserError, backend, create_model, create_operator, recalibrate, replace_conv
from ppeconv.backbones.protocol import offers
from ppeconv.cli.main import main
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.octaveconv import Octaves
from ppeconv.operators.table import operators_table, papers
from ppeconv.registry import OPERATORS
from ppeconv.surgery.features import FeatureMaps
from ppeconv.surgery.replace import coverage

NAMES = OPERATORS.names()
BACKBONES = {
    "ResNet20": {},
    "MobileNetV2": {"stem": "cifar", "width": 0.35},
    "ResNet18": {"stem": "cifar", "width": 0.25},
    "ResNet50": {"stem": "cifar", "width": 0.25},
    "VGG16Cifar": {"width": 0.25},
}
FULL = {"ResNet18", "ResNet50", "VGG16Cifar"}


def make(backbone, operator=None, rules=None):
    return create_model(backbone, class_num=10, operator=operator, rules=rules, **BACKBONES[backbone])


def test_everything_applies_to_the_plain_backbones():
    for backbone in ("ResNet18", "ResNet20", "ResNet50", "VGG16Cifar"):
        model = make(backbone)
        assert {name for name in NAMES if not coverage(model, name).replaced} == set()


def test_what_applies_to_mobilenet():
    model = make("MobileNetV2")
    found = {name: coverage(model, name).replaced for name in NAMES}
    assert found.keys() >= {name for name, count in found.items() if count}
    assert {"GhostConv", "ChannelVersatileConv", "CompConv"} <= {name for name, count in found.items() if count == 34}
    assert {"MixConv", "SKConv"} <= {name for name, count in found.items() if count == 17}
    assert str(coverage(model, "FireConv")).startswith("no: kernel 1x1 is below")


@pytest.mark.parametrize(
    ("backbone", "operator"),
    [
        pytest.param(backbone, name, marks=[pytest.mark.full] if backbone in FULL else [])
        for backbone in BACKBONES
        for name in NAMES
    ],
)
def test_applicable_cell(backbone, operator, tmp_path):
    """Forward, a gradient in every parameter, an optimizer step, saving and loading."""
    plain = make(backbone)
    if not coverage(plain, operator).replaced:
        with pytest.raises(UserError, match="replaces none"):
            replace_conv(plain, operator)
        return
    model = make(backbone, operator)
    _step_save_load(model, lambda: make(backbone, operator), 32 if backbone == "VGG16Cifar" else 16, tmp_path)


@pytest.mark.parametrize("backbone", ["ResNet20", "ResNet18"])
def test_octave_flow(backbone, tmp_path):
    def build():
        return make(backbone, "OctaveConv", {"flow": True})

    _step_save_load(build(), build, 16, tmp_path)


def test_octave_flow_pools_before_the_strided_convolution_behind_it():
    """The last stage's first block of a bottleneck network, from its definition."""
    model = make("ResNet50", "OctaveConv", {"flow": True})
    model.eval()
    block = model.layer4[0]
    high_in, low_in = block.conv1.core.high_to_high._in_channels, block.conv1.core.low_in
    x = Octaves(paddle.randn([2, high_in, 8, 8]), paddle.randn([2, low_in, 4, 4]))

    def norm(y, layer):
        return F.batch_norm(y, layer._mean, layer._variance, layer.weight, layer.bias)

    def doubled(y):
        return y.repeat_interleave(2, 2).repeat_interleave(2, 3)

    first, projection = block.conv1.core, block.downsample[0].core
    y = F.conv2d(x.high, first.high_to_high.weight) + doubled(F.conv2d(x.low, first.low_to_high.weight))
    y = F.avg_pool2d(F.relu(norm(y, block.bn1)), 2, 2)
    y = F.relu(norm(F.conv2d(y, block.conv2.weight, padding=1), block.bn2))
    beside = F.conv2d(F.avg_pool2d(x.high, 2, 2), projection.high_to_high.weight)
    beside += F.conv2d(x.low, projection.low_to_high.weight)
    expected = F.relu(norm(F.conv2d(y, block.conv3.weight), block.bn3) + norm(beside, block.downsample[1]))
    np.testing.assert_allclose(block(x).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_octave_flow_keeps_names_weights_and_counts():
    plain, size = make("ResNet50"), [1, 3, 32, 32]
    weight = plain.layer4[0].conv2.weight.numpy()
    model, report = replace_conv(plain, "OctaveConv", {"flow": True}, size, alpha=0.5)
    assert (model.state_dict()["layer4.0.conv2.weight"].numpy() == weight).all()
    (row,) = (row for row in ppeconv.count(model, size).rows if row.path == "layer4.0.conv2")
    assert row.macs == weight.size * 4 * 4
    (kept,) = (row for row in report.skipped if row.path == "layer4.0.conv2")
    assert "pooled to half instead of the stride" in kept.reason
    fast = ppeconv.deploy(model, size)
    model.eval()
    x = paddle.randn([2, 3, 32, 32])
    np.testing.assert_allclose(fast(x).numpy(), model(x).numpy(), rtol=1e-4, atol=1e-5)


def _step_save_load(model, build, side, tmp_path):
    model.train()
    x = paddle.randn([2, 3, side, side])
    logits = model(x)
    assert logits.shape == [2, 10]
    nn.functional.cross_entropy(logits, paddle.to_tensor([[1], [2]])).backward()
    trainable = {name: p for name, p in model.named_parameters() if not p.stop_gradient}
    assert [name for name, p in trainable.items() if p.grad is None or not np.isfinite(p.grad.numpy()).all()] == []
    before = {name: p.numpy().copy() for name, p in trainable.items()}
    optimizer = paddle.optimizer.Momentum(0.1, 0.9, parameters=model.parameters())
    optimizer.step()
    assert any((before[name] != p.numpy()).any() for name, p in trainable.items())
    paddle.save(model.state_dict(), str(tmp_path / "net.pdparams"))
    other = build()
    other.set_state_dict(paddle.load(str(tmp_path / "net.pdparams")))
    model.eval()
    other.eval()
    np.testing.assert_allclose(model(x).numpy(), other(x).numpy(), rtol=1e-5, atol=1e-5)


def _exported_equals_eager(model, shape, tmp_path):
    model.eval()
    spec = [paddle.static.InputSpec([None, *shape], "float32")]
    paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, full_graph=True), str(tmp_path / "net"))
    loaded = paddle.jit.load(str(tmp_path / "net"))
    for batch in (1, 3):
        x = paddle.randn([batch, *shape])
        np.testing.assert_allclose(loaded(x).numpy(), model(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_exported_layers_take_any_batch(name, tmp_path):
    layers = [create_operator(name, 8, 8, 3, 1, 1), create_operator(name, 8, 16, 3, 2, 1)]
    _exported_equals_eager(nn.Sequential(*layers), [8, 9, 9], tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_exported_resnet20_takes_any_batch(name, tmp_path):
    _exported_equals_eager(make("ResNet20", name), [3, 32, 32], tmp_path)


@pytest.mark.full
def test_exported_octave_flow_takes_any_batch(tmp_path):
    _exported_equals_eager(make("ResNet20", "OctaveConv", {"flow": True}), [3, 32, 32], tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_an_epoch_on_digits_lowers_the_loss(name):
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = paddle.to_tensor((digits.images[:, None] / 16).astype("float32"))
    labels = paddle.to_tensor(digits.target[:, None].astype("int64"))
    model = create_model("ResNet20", operator=name, in_channels=1)
    optimizer = paddle.optimizer.Momentum(0.02, 0.9, parameters=model.parameters())
    losses = []
    for start in range(0, 1792, 64):
        batch = slice(start, start + 64)
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


# replacement


def test_weights_are_carried_over_where_they_have_a_place():
    plain = make("ResNet20")
    plain.eval()
    x = paddle.randn([2, 3, 32, 32])
    expected = plain(x).numpy()
    model, report = replace_conv(plain, "Conv2D")
    assert all(row.inherited for row in report.replaced)
    assert "weights carried over" in str(report)
    model.eval()
    np.testing.assert_allclose(model(x).numpy(), expected, atol=1e-5)
    _, report = replace_conv(make("ResNet20"), "SPConv")
    assert not any(row.inherited for row in report.replaced)


@pytest.mark.parametrize(("operator", "own"), [("GroupConv", {"conv_groups": 2}), ("HetConv", {"parts": 2})])
@pytest.mark.parametrize("bias", [None, False])
def test_inherited_weights_of_a_sparse_filter(operator, own, bias):
    """A dense convolution whose weights are zero where the operator has none is carried over exactly."""
    plain = nn.Conv2D(4, 6, 3, padding=1, bias_attr=bias)
    weight = plain.weight.numpy().copy()
    for group in range(2):
        others = weight[3 * group : 3 * group + 3, 2 - 2 * group : 4 - 2 * group]
        centres = others[:, :, 1, 1].copy()
        others[:] = 0
        if operator == "HetConv":
            others[:, :, 1, 1] = centres
    plain.weight.set_value(weight)
    layer = OPERATORS.get(operator).of_geometry(ConvGeometry.of_layer(plain), **own)
    assert layer.inherit(plain)
    x = paddle.randn([2, 4, 6, 7])
    np.testing.assert_allclose(layer(x).numpy(), plain(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("alpha", "groups"), [(0.0, 1), (0.25, 1), (0.5, 1), (0.5, 8)])
def test_octave_inherits_every_weight(alpha, groups):
    plain = nn.Conv2D(8, 8, 3, padding=1, groups=groups)
    layer = create_operator("OctaveConv", 8, 8, 3, padding=1, groups=groups, alpha=alpha)
    assert layer.inherit(plain)
    total = sum(float(p.sum()) for p in layer.parameters() if p.ndim == 4)
    assert total == pytest.approx(float(plain.weight.sum()), abs=1e-4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: replace_conv(make("ResNet20"), "GhostConv", {"flow": True}), "rules.flow is for OctaveConv"),
        (lambda: replace_conv(make("MobileNetV2"), "OctaveConv", {"flow": True}), "two or more stages"),
        (lambda: replace_conv(make("ResNet20"), "OctaveConv", {"flow": True}, alpha_in=0.5), "follow from alpha"),
        (
            lambda: replace_conv(paddle.vision.models.resnext50_32x4d(), "OctaveConv", {"flow": True}),
            "cannot flow through layer1.0.conv2",
        ),
        (
            lambda: replace_conv(make("ResNet20", "SE"), "OctaveConv", {"flow": True}),
            "through layer1.0, and its layer recalibration, a SE, takes one",
        ),
        (
            lambda: recalibrate(make("ResNet20", "OctaveConv", {"flow": True}), "SE"),
            "two resolutions through layer1.0.recalibration, .*; leave these out with rules.exclude",
        ),
        (lambda: create_model("LeNet", features=True), "no feature maps"),
    ],
)
def test_refusals_are_sentences(call, words):
    with pytest.raises(UserError, match=words):
        call()


def test_the_last_stage_has_a_recalibration_block_before_and_after_the_flow():
    places, size = {"include": ["layer3.*"]}, [2, 3, 16, 16]
    first, _ = recalibrate(make("ResNet20", "OctaveConv", {"flow": True}), "SE", places)
    second, _ = replace_conv(recalibrate(make("ResNet20"), "SE", places)[0], "OctaveConv", {"flow": True})
    second.set_state_dict(first.state_dict())
    x = paddle.randn(size)
    assert first(x).shape == [2, 10]
    np.testing.assert_array_equal(first(x).numpy(), second(x).numpy())


def test_the_flow_inherits_norms():
    model = make("ResNet20")
    norm = model.layer2[0].bn1
    norm.weight.set_value(paddle.rand([32]))
    norm._mean.set_value(paddle.rand([32]))
    expected = norm.weight.numpy(), norm._mean.numpy()
    model, _ = replace_conv(model, "OctaveConv", {"flow": True})
    high, low = model.layer2[0].bn1.high, model.layer2[0].bn1.low
    assert (np.concatenate([high.weight.numpy(), low.weight.numpy()]) == expected[0]).all()
    assert (np.concatenate([high._mean.numpy(), low._mean.numpy()]) == expected[1]).all()


def test_dry_run_of_the_flow_changes_nothing():
    model = make("ResNet20")
    before = list(model.state_dict())
    _, report = replace_conv(model, "OctaveConv", {"flow": True}, dry_run=True)
    assert list(model.state_dict()) == before
    assert report.params[0] == report.params[1]
    assert "alpha 0 -> 0.25" in str(report)
    assert "alpha 0.25 -> 0" in str(report)


# feature maps and lists


@pytest.mark.parametrize(
    ("backbone", "arguments", "channels", "strides"),
    [
        ("ResNet18", {"width": 0.25}, [16, 32, 64, 128], [4, 8, 16, 32]),
        ("ResNet50", {"width": 0.25}, [64, 128, 256, 512], [4, 8, 16, 32]),
        ("ResNet20", {"in_channels": 1}, [16, 32, 64], [1, 2, 4]),
        ("MobileNetV2", {}, [24, 32, 96, 1280], [4, 8, 16, 32]),
        ("VGG16Cifar", {"width": 0.25}, [16, 32, 64, 128, 128], [2, 4, 8, 16, 32]),
    ],
)
def test_feature_maps(backbone, arguments, channels, strides):
    model = create_model(backbone, features=True, operator="GhostConv", **arguments)
    assert (model.channels, model.strides) == (channels, strides)
    maps = model(paddle.randn([2, arguments.get("in_channels", 3), 64, 96]))
    assert [value.shape for value in maps] == [[2, c, 64 // s, 96 // s] for c, s in zip(channels, strides, strict=True)]
    sum(value.mean() for value in maps).backward()
    assert all(p.grad is not None for p in model.parameters() if not p.stop_gradient)


def test_what_a_network_offers_is_what_it_says_and_else_the_default():
    """So a network of one's own gives feature maps once it has stages and names its head."""

    class Own(nn.Sequential):
        def stages(self, x):
            return [self[0](x), self[1](self[0](x))]

    model = Own(nn.Conv2D(2, 4, 3, 2, 1), nn.Conv2D(4, 8, 3, 2, 1), nn.Flatten())
    assert offers(model).stages == model.stages
    assert (offers(model).head, offers(Own).image_shape, offers(Own).init) == (None, None, "paddle")
    with pytest.raises(UserError, match="no attribute head"):
        FeatureMaps(model)
    Own.head = "2"
    assert FeatureMaps(model).channels == [4, 8]
    assert isinstance(model[2], nn.Identity)


def test_feature_maps_of_the_octave_flow_have_one_resolution():
    model = create_model("ResNet20", features=True, operator="OctaveConv", rules={"flow": True})
    assert (model.channels, model.strides) == ([16, 32, 64], [1, 2, 4])


@pytest.mark.full
def test_matrix_is_listed(capsys):
    assert main(["list", "--matrix"]) == 0
    text = capsys.readouterr().out
    assert text.count("GhostConv ") == len(ppeconv.list_backbones())
    assert "no: HetConv needs parts that divide" in text


def test_counts_are_listed(capsys):
    assert main(["list", "operators", "--counts"]) == 0
    assert "37.0% of the parameters, 36.1% of the MACs" in capsys.readouterr().out


def test_operators_table():
    table = operators_table()
    assert all(f"[{name}](docs/operators/{name.lower()}.md)" in table for name in NAMES)
    assert "2109.09310" in papers("SpatialVersatileConv")
    assert "37.0%" in next(line for line in table.splitlines() if "[SPConv]" in line)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stride", [1, 2])
def test_fast_cpu_training_gives_the_same_gradients(name, stride):
    if not backend.available()[0]:
        pytest.skip(backend.available()[1])
    layer = create_operator(name, 8, 16, 3, stride, 1)
    x, upstream = paddle.randn([4, 8, 9, 11]), paddle.randn([4, 16, (8 + stride) // stride, (10 + stride) // stride])
    results = []
    for fast in (False, True):
        with backend.enabled() if fast else backend.disabled():
            y = layer(x)
            (y * upstream).sum().backward()
        gradients = {key: p.grad.numpy() for key, p in layer.named_parameters() if not p.stop_gradient}
        results.append((y.numpy(), gradients))
        layer.clear_gradients()
    (plain, expected), (fast, found) = results
    np.testing.assert_allclose(fast, plain, rtol=1e-4, atol=1e-4)
    scale = max(abs(gradient).max() for gradient in expected.values())
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-3, atol=1e-4 * scale)
