"""Recalibration blocks and heads: definitions, equalities, counts, and their places in networks."""

import re
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn

import ppeconv
from ppeconv import UserError, backend, create_model, create_operator, recalibrate, replace_pool
from ppeconv import config as configs
from ppeconv.cli.main import main
from ppeconv.experiment.parts import Parts
from ppeconv.recalibration.base import Recalibration, RecalibrationSlot
from ppeconv.recalibration.eca import adapted_kernel
from ppeconv.registry import HEADS, RECALIBRATIONS, placed
from tests.docs.test_operator_pages import assert_defaults

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
NAMES = RECALIBRATIONS.names()
SETTINGS = [
    *[(name, {}) for name in NAMES],
    ("SE", {"reduction": 4, "bias": False}),
    ("SE", {"hidden": 5, "activation": "swish", "gate": "hard_sigmoid"}),
    *[("GE", {"form": form, "extent": extent}) for form in ("theta-", "theta", "theta+") for extent in (2, 4, 8)],
    ("GE", {"form": "theta-", "extent": "global"}),
    ("GE", {"form": "theta+", "extent": "global"}),
    ("GC", {"ratio": 0.25, "fusion": "scale"}),
    ("ECA", {"kernel": 7}),
]


def made(name, channels, height, width, **own):
    size = {"size": [height, width]} if RECALIBRATIONS.accepts(name, "size") else {}
    return RECALIBRATIONS.get(name)(channels, **{**size, **own})


def fill(layer):
    """Random values in every parameter, also in those that begin at zero."""
    for parameter in layer.parameters():
        if not parameter.stop_gradient:
            parameter.set_value(paddle.randn(parameter.shape))


@pytest.mark.parametrize(("name", "own"), SETTINGS)
@settings(max_examples=8, deadline=None)
@given(channels=st.integers(1, 40), height=st.integers(1, 11), width=st.integers(1, 11))
def test_shape_and_closed_form(name, own, channels, height, width):
    layer = made(name, channels, height, width, **own)
    layer.eval()
    assert layer(paddle.randn([2, channels, height, width])).shape == [2, channels, height, width]
    counts = ppeconv.count(layer, [1, channels, height, width])
    formula = RECALIBRATIONS.get(name).formula(channels, height, width, **own)
    assert (counts.params, counts.macs) == formula


@pytest.mark.parametrize(("name", "own"), SETTINGS)
def test_gradients_and_export(name, own, tmp_path):
    layer = made(name, 8, 6, 5, **own)
    fill(layer)
    x = paddle.randn([3, 8, 6, 5])
    x.stop_gradient = False
    (layer(x) ** 2).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    assert all(np.isfinite(p.grad.numpy()).all() for p in layer.parameters() if not p.stop_gradient)
    assert ppeconv.export(nn.Sequential(nn.Conv2D(8, 8, 1), layer), tmp_path / "block", [8, 6, 5]) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_fast_cpu_training_gives_the_same_gradients(name):
    if not backend.available()[0]:
        pytest.skip(backend.available()[1])
    layer, x = made(name, 8, 6, 5), paddle.randn([4, 8, 6, 5])
    fill(layer)
    results = []
    for fast in (False, True):
        with backend.enabled() if fast else backend.disabled():
            (layer(x) ** 2).sum().backward()
        results.append({key: p.grad.numpy() for key, p in layer.named_parameters() if not p.stop_gradient})
        layer.clear_gradients()
    for key, expected in results[0].items():
        np.testing.assert_allclose(results[1][key], expected, rtol=1e-3, atol=1e-3 * abs(expected).max() + 1e-4)


# definitions


def test_se_with_zero_excite_weights_halves():
    layer, x = made("SE", 8, 4, 4, reduction=2), paddle.randn([2, 8, 4, 4])
    layer.excite.weight.set_value(paddle.zeros_like(layer.excite.weight))
    layer.excite.bias.set_value(paddle.zeros_like(layer.excite.bias))
    np.testing.assert_array_equal(layer(x).numpy(), (x / 2).numpy())


def test_se_is_its_definition():
    layer, x = made("SE", 8, 4, 5, reduction=2), paddle.randn([2, 8, 4, 5])
    fill(layer)
    first, second = layer.squeeze, layer.excite
    hidden = F.relu(x.mean([2, 3]) @ first.weight.flatten(1).t() + first.bias)
    gate = F.sigmoid(hidden @ second.weight.flatten(1).t() + second.bias)
    np.testing.assert_allclose(layer(x).numpy(), (x * gate.unsqueeze([2, 3])).numpy(), **CLOSE)


def test_hard_sigmoid_is_relu6():
    x = paddle.linspace(-5, 5, 41)
    layer = made("SE", 2, 1, 1, gate="hard_sigmoid")
    np.testing.assert_allclose(layer.gate(x).numpy(), (F.relu6(x + 3) / 6).numpy(), atol=1e-6)


def test_gc_begins_as_the_identity():
    layer, x = made("GC", 16, 4, 5), paddle.randn([2, 16, 4, 5])
    np.testing.assert_array_equal(layer(x).numpy(), x.numpy())


def test_gc_is_its_definition():
    layer, x = made("GC", 16, 4, 5, ratio=0.25), paddle.randn([2, 16, 4, 5])
    fill(layer)
    attend, (first, norm, _, last) = layer.attend, layer.transform
    pixels = x.flatten(2)
    shares = F.softmax((pixels * attend.weight.flatten(1).unsqueeze(2)).sum(1) + attend.bias, axis=1)
    context = (pixels * shares.unsqueeze(1)).sum(2)
    hidden = context @ first.weight + first.bias
    hidden = F.relu(F.layer_norm(hidden, [4], norm.weight, norm.bias))
    term = hidden @ last.weight + last.bias
    np.testing.assert_allclose(layer(x).numpy(), (x + term.unsqueeze([2, 3])).numpy(), rtol=1e-3, atol=1e-4)


def test_ge_without_parameters_and_global_is_its_closed_form():
    layer, x = made("GE", 8, 5, 6, form="theta-", extent="global"), paddle.randn([2, 8, 5, 6])
    np.testing.assert_allclose(layer(x).numpy(), (x * F.sigmoid(x.mean([2, 3], keepdim=True))).numpy(), **CLOSE)
    assert not layer.parameters()


@pytest.mark.parametrize("extent", [2, 4])
def test_ge_averages_the_pixels_that_the_image_has(extent):
    layer, x = made("GE", 2, 9, 8, form="theta-", extent=extent), paddle.randn([1, 2, 9, 8])
    y = layer(x)
    rows, columns = -(-9 // extent), -(-8 // extent)
    for row, column in ((0, 0), (3, 5), (8, 7)):
        top, left = (row * rows // 9 * extent, column * columns // 8 * extent)
        window = x[:, :, max(top - extent + 1, 0) : top + extent, max(left - extent + 1, 0) : left + extent]
        expected = x[:, :, row, column] * F.sigmoid(window.mean([2, 3]))
        np.testing.assert_allclose(y[:, :, row, column].numpy(), expected.numpy(), **CLOSE)


def test_ge_with_uniform_global_weights_gates_with_the_normalised_mean():
    layer, x = made("GE", 4, 3, 5, form="theta", extent="global"), paddle.randn([2, 4, 3, 5])
    layer.gather[0].weight.set_value(paddle.full([4, 1, 3, 5], 1 / 15))
    layer.eval()
    gate = F.sigmoid(x.mean([2, 3], keepdim=True) / np.sqrt(1 + 1e-5))
    np.testing.assert_allclose(layer(x).numpy(), (x * gate).numpy(), **CLOSE)


@pytest.mark.parametrize(("channels", "taps"), [(64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)])
def test_eca_kernel(channels, taps):
    assert adapted_kernel(channels) == taps


def test_eca_is_a_filter_along_the_channels():
    layer, x = made("ECA", 8, 3, 4, kernel=3), paddle.randn([2, 8, 3, 4])
    means = np.pad(x.mean([2, 3]).numpy(), [(0, 0), (1, 1)])
    taps = layer.conv.weight.flatten().numpy()
    gate = 1 / (1 + np.exp(-sum(tap * means[:, index : index + 8] for index, tap in enumerate(taps))))
    np.testing.assert_allclose(layer(x).numpy(), x.numpy() * gate[:, :, None, None], **CLOSE)


def test_sk_with_identical_branches_gives_one_of_them():
    layer, x = create_operator("SKConv", 8, 8, 3, padding=1), paddle.randn([2, 8, 6, 7])
    layer.branches[1] = layer.branches[0]
    layer.eval()
    np.testing.assert_allclose(layer(x).numpy(), layer.branches[0](x).numpy(), **CLOSE)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_gdc_with_uniform_weights_is_global_pooling(batch_norm):
    head, x = HEADS.get("GDC")(6, size=[4, 5], batch_norm=batch_norm), paddle.randn([2, 6, 4, 5])
    head.conv.weight.set_value(paddle.full([6, 1, 4, 5], 1 / 20))
    head.eval()
    scale = np.sqrt(1 + 1e-5) if batch_norm else 1
    np.testing.assert_allclose(head(x).numpy() * scale, F.adaptive_avg_pool2d(x, 1).numpy(), **CLOSE)
    counts = ppeconv.count(head, [1, 6, 4, 5])
    assert (counts.params, counts.macs) == HEADS.get("GDC").formula(6, 4, 5, batch_norm=batch_norm)


# places


PLACES = {
    "ResNet18": ({"stem": "cifar", "width": 0.25}, 8),
    "ResNet50": ({"stem": "cifar", "width": 0.25}, 16),
    "ResNet20": ({}, 9),
    "MobileNetV2": ({"stem": "cifar"}, 17),
    "VGG16Cifar": ({"width": 0.25}, 13),
    "InceptionV1": ({"stem": "cifar"}, 9),
    "ShuffleNetV2": ({"stem": "cifar"}, 16),
}


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        pytest.param(backbone, name, marks=[] if name == "SE" or backbone == "ResNet20" else [pytest.mark.full])
        for backbone in PLACES
        for name in NAMES
    ],
)
def test_places_of_the_networks(backbone, name):
    arguments, places = PLACES[backbone]
    model, report = recalibrate(create_model(backbone, class_num=10, **arguments), name, input_size=[1, 3, 32, 32])
    assert len(report.rows) == places
    assert report.params[1] - report.params[0] == sum(row.params_after for row in report.rows)
    assert f"{name}: put in {places} places" in report.summary()
    logits = model(paddle.randn([2, 3, 32, 32]))
    nn.functional.cross_entropy(logits, paddle.to_tensor([[1], [2]])).backward()
    blocks = [layer for layer in model.sublayers() if isinstance(layer, Recalibration)]
    assert len(blocks) == places
    assert all(p.grad is not None for block in blocks for p in block.parameters() if not p.stop_gradient)


def test_the_block_is_on_the_branch_before_the_sum():
    model, _ = recalibrate(create_model("ResNet18", stem="cifar", width=0.125), "SE")
    model.eval()
    block, x = model.layer1[0], paddle.rand([2, 8, 5, 5])
    branch = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    np.testing.assert_allclose(block(x).numpy(), F.relu(block.recalibration(branch) + x).numpy(), **CLOSE)


def test_gc_begins_as_the_plain_network():
    plain, x = create_model("ResNet20"), paddle.randn([1, 3, 32, 32])
    plain.eval()
    expected = plain(x).numpy()
    model, _ = recalibrate(plain, "GC")
    np.testing.assert_array_equal(model(x).numpy(), expected)


def test_names_of_the_other_parameters_stay():
    assert set(create_model("ResNet20").state_dict()) <= set(create_model("ResNet20", operator="SE").state_dict())


def test_the_map_is_measured_at_the_size_of_the_images():
    small = create_model("ResNet20", operator="GE", in_channels=1, input_size=[1, 1, 16, 20])
    assert small.layer3[0].recalibration.gather[0].weight.shape == [64, 1, 4, 5]
    usual = create_model("ResNet20", operator="GE", in_channels=1)
    assert usual.layer3[0].recalibration.gather[0].weight.shape == [64, 1, 8, 8]


def test_a_kernel_for_each_stage():
    """The published ECA-ResNet50 has taps 3, 5, 5, 7: 80 parameters more."""
    model = create_model("ResNet50")
    before = ppeconv.parameter_count(model)
    for stage, kernel in enumerate((3, 5, 5, 7), 1):
        recalibrate(model, "ECA", {"include": [f"layer{stage}.*"]}, kernel=kernel)
    assert ppeconv.parameter_count(model) - before == 80


def test_behind_named_layers_of_any_network():
    net = paddle.vision.models.resnet18(num_classes=4)
    model, report = recalibrate(net, "SE", {"after": ["layer*.*.bn2"]}, [1, 3, 64, 64])
    channels = [64, 64, 128, 128, 256, 256, 512, 512]
    assert [row.before for row in report.rows] == [f"{count} channels" for count in channels]
    assert report.macs[1] - report.macs[0] == sum(2 * count * count // 16 for count in channels)
    assert model(paddle.randn([2, 3, 64, 64])).shape == [2, 4]


def test_a_layer_that_does_not_run_is_no_place():
    class Idle(nn.Sequential):
        def forward(self, x):
            return self[0](x)

    with pytest.raises(UserError, match=r"1 does not run in Idle's forward.*rules.exclude"):
        recalibrate(Idle(nn.Conv2D(3, 8, 3), nn.Conv2D(8, 8, 3)), "SE", {"after": ["*"]}, [1, 3, 8, 8])


def test_the_modules_of_paddle_visions_inception():
    _, report = recalibrate(create_model("InceptionV3", class_num=4), "SE", {"after": ["inception_block_list.*"]})
    assert [row.before for row in report.rows][:4] == [f"{count} channels" for count in (256, 288, 288, 768)]
    assert len(report.rows) == 11


@pytest.mark.parametrize("order", [["SPConv", "SE"], ["SE", "SPConv"]])
def test_together_with_an_operator(order):
    config = configs.load("resnet20_spconv_se_cifar10")
    sections = {section.name: section.model_dump() for section in config.operators}
    listed = [sections[name] for name in order]
    config = configs.with_values(config, {"Operator": listed, "Arch.class_num": 10, "Infer.image_shape": [3, 32, 32]})
    model, reports = Parts(config).model()
    convolutions, blocks = (reports[order.index(name)] for name in ("SPConv", "SE"))
    assert (len(convolutions.replaced), len(blocks.rows)) == (18, 9)
    alone = ppeconv.parameter_count(create_model("ResNet20", operator="SPConv"))
    assert ppeconv.parameter_count(model) == alone + sum(row.params_after for row in blocks.rows)


def test_operators_leave_the_insides_of_a_block_alone():
    model, _ = recalibrate(create_model("ResNet20"), "SE")
    _, report = ppeconv.replace_conv(model, "GhostConv")
    assert not [row.path for row in report.rows if "recalibration" in row.path]


@pytest.mark.parametrize(
    "backbone", ["ResNet18", "ResNet20", "MobileNetV2", "DenseNet121", "MobileNetV3Small", "GhostNet"]
)
def test_gdc_takes_the_place_of_the_pooling(backbone):
    stem = {} if backbone == "ResNet20" else {"stem": "cifar"}
    model, report = replace_pool(create_model(backbone, class_num=4, **stem), "GDC", [1, 3, 32, 32])
    (row,) = report.rows
    assert "pool" in row.path
    assert row.after == "GDC"
    assert report.params[1] - report.params[0] == row.params_after >= 3 * int(row.before.split()[0])
    assert model(paddle.randn([2, 3, 32, 32])).shape == [2, 4]


@pytest.mark.parametrize("training", [True, False])
def test_blocks_and_heads_are_in_the_mode_and_type_of_the_network(training):
    model = nn.Sequential(nn.Conv2D(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2D(1))
    model.train() if training else model.eval()
    model.to(dtype="float64")
    seen = []
    handle = model[2].register_forward_post_hook(lambda layer, inputs, output: seen.append(output.dtype))
    recalibrate(model, "GE", {"after": ["0"]}, [1, 3, 8, 8])
    replace_pool(model, "GDC", [1, 3, 8, 8])
    assert {layer.training for layer in model.sublayers(include_self=True)} == {training}
    assert {value.dtype for value in model.parameters()} == {paddle.float64}
    seen.clear()
    model(paddle.zeros([2, 3, 8, 8], "float64"))
    assert seen == [paddle.float64]
    handle.remove()
    model(paddle.zeros([2, 3, 8, 8], "float64"))
    assert len(seen) == 1


def test_a_head_needs_a_pooling():
    with pytest.raises(UserError, match=r"runs no nn\.AdaptiveAvgPool2D"):
        replace_pool(nn.Conv2D(3, 3, 1), "GDC", [1, 3, 8, 8])


BOTH = "resnet20_spconv_se_cifar10"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: recalibrate(create_model("LeNet"), "SE"), "LeNet declares no place for SE"),
        (lambda: recalibrate(create_model("ResNet20"), "SE", {"include": ["stage9*"]}), "leave SE no place"),
        (lambda: recalibrate(create_model("ResNet20"), "SE", {"after": ["bn9"]}), "names no layer of ResNet20"),
        (lambda: recalibrate(create_model("ResNet20"), "SE", {"min_kernel": 3}), "rules has no key 'min_kernel'"),
        (lambda: recalibrate(create_model("ResNet20"), "SE", ratio=3), "SE has no key 'ratio'"),
        (lambda: recalibrate(create_model("ResNet20"), "SEE"), "did you mean 'SE'"),
        (lambda: recalibrate(nn.Sequential(nn.Conv2D(3, 4, 1)), "SE", {"after": ["0"]}), "give its input_size"),
        (
            lambda: recalibrate(
                create_model("ResNet20", operator="OctaveConv", rules={"flow": True}), "SE", {"after": ["layer1.0.bn1"]}
            ),
            "two resolutions through layer1.0.bn1",
        ),
        (
            lambda: recalibrate(
                create_model("ResNet20", operator="OctaveConv", rules={"flow": True}), "SE", {"after": ["layer1.0"]}
            ),
            "no tensor",
        ),
        (lambda: RECALIBRATIONS.create("SE", 8, reduction=0), "SE.reduction should be an integer from 1 to"),
        (lambda: RECALIBRATIONS.create("ECA", 8, kernel=4), "from 1 to 63, odd, or null; got 4"),
        (lambda: RECALIBRATIONS.create("GC", 8, ratio=0.0), "GC.ratio should be a number above 0"),
        (lambda: RECALIBRATIONS.get("GE")(8), "give its size"),
        (lambda: HEADS.get("GDC")(8), "give its size"),
        (
            lambda: create_model("ResNet20", operator="GDC", operator_args={"size": [4, 8]}),
            r"GDC.size is \[4, 8\], and the map at pool is \[8, 8\]",
        ),
        (lambda: create_model("ShuffleNetV1", stem_channels=25), "multiples of it; got .* behind stem_channels=25"),
        (lambda: create_model("MobileNetV1", width=1e-6), "MobileNetV1 cannot be built with width=1e-06"),
        (lambda: create_model("ResNet20", operator="SPConf"), "recalibration block or head called 'SPConf'"),
        (lambda: create_model("ResNet20", operator="GDC", rules={"include": ["x"]}), "takes no rules"),
        (lambda: configs.load(BOTH, ["Operator.1.rules={kernel_size: [3]}"]), "no key 'kernel_size'"),
        (lambda: configs.load(BOTH, ["Operator.1.gate=hard"]), "SE.gate should be"),
    ],
)
def test_refusals_are_sentences(call, words):
    with pytest.raises(UserError, match=words):
        call()


def test_all_that_is_placed_is_found_under_one_name():
    assert placed("spconv") is ppeconv.OPERATORS
    assert placed("se") is RECALIBRATIONS
    assert placed("gdc") is HEADS


@pytest.mark.parametrize(("kind", "line"), [("recalibrations", "SE "), ("heads", "GDC ")])
def test_they_are_listed(kind, line, capsys):
    assert main(["list", kind, "--counts"]) == 0
    text = capsys.readouterr().out
    assert line in text
    assert "64 channels, 32x32: " in text


def test_slots_do_nothing():
    x = paddle.randn([1, 3, 2, 2])
    assert RecalibrationSlot(3)(x) is x


# pages


@pytest.mark.parametrize("name", [*NAMES, *HEADS.names()])
def test_page(name):
    text = (Path(__file__).parents[2] / "docs" / "recalibration" / f"{name.lower()}.md").read_text("utf-8")
    for heading in ("思路", "公式", "参数量与计算量", "自有参数", "放在哪里", "哪里合适，哪里不合适", "配置"):
        assert f"## {heading}" in text
    assert_defaults(text, placed(name).get(name).Arguments().model_dump())
    snippet = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.S)[1])
    del snippet["_base_"]
    config = configs.load({**configs.load("resnet20_conv_cifar10").model_dump(), **snippet})
    assert name in [section.name for section in config.operators]
