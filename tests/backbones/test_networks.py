"""Every network of docs/networks.md: counts beside those of others, feature maps, stems; recalibration is elsewhere."""

from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import yaml
from paddle import nn

import ppeconv
from ppeconv import UserError, create_model, replace_conv
from ppeconv.backbones.res2net import Res2Block
from ppeconv.backbones.shufflenetv1 import ShuffleBlockV1
from ppeconv.experiment.parts import Parts
from ppeconv.layers.parameters import NORMS
from ppeconv.registry import BACKBONES
from tests.support.scripts import script

ROOT = Path(__file__).parents[2]
table = script("scripts/networks_table.py")
ROWS = table.rows()
CIFAR = [1, 3, 32, 32]


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=[pytest.mark.full] if row.get("heavy") else []) for row in ROWS if "counts" in row],
    ids=lambda row: row["name"],
)
def test_counts(row):
    counts = table.counted(row)
    assert agree(row["counts"], counts.params, counts.macs)


def agree(expected, params, macs):
    """Whether counts are those expected; of MACs that are known to three decimals of a G, to these."""
    if isinstance(expected[1], str):
        return params == expected[0] and f"{macs / 1e9:.3f}G" == expected[1]
    return params == expected[0] and expected[1] in (macs, None)


def test_the_page_has_every_network():
    text = (ROOT / "docs" / "networks.md").read_text("utf-8")
    table_of_networks = text.partition("\n## ")[0]
    lines = [line.split(" | ") for line in table_of_networks.splitlines() if line.startswith("| ")][1:]
    assert [line[0].removeprefix("| ") for line in lines] == [row["name"] for row in ROWS]
    for cells, row in zip(lines, ROWS, strict=True):
        assert cells[5] == cells[7] == "是", f"{row['name']} did not train or could not be served"
        assert float(cells[6]) <= 1e-5
        if "counts" in row:
            assert agree(row["counts"], *(int(cell.replace(",", "")) for cell in cells[2:4]))


def test_the_page_says_how_every_network_starts():
    assert (ROOT / "docs" / "networks.md").read_text("utf-8").endswith(table.starts())


@pytest.mark.parametrize(
    ("name", "arguments", "params", "macs"),
    [
        ("MobileNetV1", {}, 3_217_226, 46_354_432),
        ("ShuffleNetV2", {}, 1_263_854, None),
        ("ShuffleNetV2", {"width": 0.5}, 352_042, None),
    ],
)
def test_cifar_counts(name, arguments, params, macs):
    """As the networks of kuangliu/pytorch-cifar."""
    counts = ppeconv.count(create_model(name, class_num=10, stem="cifar", **arguments), CIFAR)
    assert counts.params == params
    assert macs is None or counts.macs == macs


FEATURES = {
    "DenseNet121": ([256, 512, 1024, 1024], [4, 8, 16, 32]),
    "DPN68": ([144, 320, 704, 832], [4, 8, 16, 32]),
    "EfficientNetB0": ([16, 24, 40, 112, 1280], [2, 4, 8, 16, 32]),
    "GhostNet": ([16, 24, 40, 112, 960], [2, 4, 8, 16, 32]),
    "InceptionResNetV2": ([64, 192, 320, 1088, 1536], [2, 4, 8, 16, 32]),
    "InceptionV1": ([192, 480, 832, 1024], [4, 8, 16, 32]),
    "InceptionV2": ([192, 320, 576, 1024], [4, 8, 16, 32]),
    "InceptionV3": ([288, 768, 2048], [8, 16, 32]),
    "InceptionV4": ([64, 192, 384, 1024, 1536], [2, 4, 8, 16, 32]),
    "MixNetS": ([16, 24, 40, 120, 1536], [2, 4, 8, 16, 32]),
    "MixNetM": ([24, 32, 40, 120, 1536], [2, 4, 8, 16, 32]),
    "MixNetL": ([32, 40, 56, 160, 1536], [2, 4, 8, 16, 32]),
    "MobileFaceNet": ([64, 64, 128, 512], [2, 4, 8, 16]),
    "MobileNetV1": ([64, 128, 256, 512, 1024], [2, 4, 8, 16, 32]),
    "MobileNetV3Large": ([16, 24, 40, 112, 960], [2, 4, 8, 16, 32]),
    "MobileNetV3Small": ([16, 24, 48, 576], [4, 8, 16, 32]),
    "Res2Net50": ([256, 512, 1024, 2048], [4, 8, 16, 32]),
    "ResNeXt50": ([256, 512, 1024, 2048], [4, 8, 16, 32]),
    "ShuffleNetV1": ([24, 240, 480, 960], [4, 8, 16, 32]),
    "ShuffleNetV2": ([24, 116, 232, 1024], [4, 8, 16, 32]),
    "SKNet50": ([256, 512, 1024, 2048], [4, 8, 16, 32]),
    "SqueezeNet": ([64, 128, 256, 512], [2, 4, 8, 16]),
    "Xception": ([64, 128, 256, 728, 2048], [2, 4, 8, 16, 32]),
}


def norm(x, layer):
    return F.batch_norm(x, layer._mean, layer._variance, layer.weight, layer.bias)


def conv_norm(x, layers, stride=1, padding=0, groups=1):
    """A convolution and the norm behind it, without the activation."""
    return norm(F.conv2d(x, layers[0].weight, None, stride, padding, groups=groups), layers[1])


@pytest.mark.parametrize(("cardinality", "stride"), [(1, 2), (1, 1), (2, 2)])
def test_the_first_block_of_a_stage_of_res2net(cardinality, stride):
    downsample = nn.Sequential(nn.Conv2D(16, 64, 1, stride, bias_attr=False), nn.BatchNorm2D(64))
    block = Res2Block(16, 16, stride, downsample, 4, 16, cardinality)
    block.eval()
    x = paddle.randn([2, 16, 5, 4])
    *splits, last = F.relu(conv_norm(x, block.reduce)).chunk(4, axis=1)
    y = [
        F.relu(conv_norm(split, link, stride, 1, cardinality)) for split, link in zip(splits, block.chain, strict=True)
    ]
    means = F.conv2d(last, paddle.full([last.shape[1], 1, 3, 3], 1 / 9), None, stride, 1, groups=last.shape[1])
    y = conv_norm(paddle.concat([*y, means], axis=1), block.expand)
    expected = F.relu(y + conv_norm(x, downsample, stride))
    np.testing.assert_allclose(block(x).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_the_strided_block_of_shufflenet_v1():
    block = ShuffleBlockV1(12, 36, 2, 3, 3)
    block.eval()
    x = paddle.randn([2, 12, 5, 4])
    y = F.relu(conv_norm(x, block.reduce, groups=3)).reshape([2, 3, 3, 5, 4]).transpose([0, 2, 1, 3, 4]).flatten(1, 2)
    y = conv_norm(conv_norm(y, block.expand[0], 2, 1, 9), block.expand[1], groups=3)
    means = F.conv2d(x, paddle.full([12, 1, 3, 3], 1 / 9), None, 2, 1, groups=12)
    expected = paddle.concat([means, F.relu(y)], axis=1)
    np.testing.assert_allclose(block(x).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", [(ShuffleBlockV1, "pool"), (Res2Block, "keep")])
def test_means_over_the_border_count_the_padding(stage):
    block, pool = stage
    layer = block(4, 8, 2, 1, 1) if block is ShuffleBlockV1 else block(4, 4, 2, nn.Identity(), 2, 16, 1)
    means = getattr(layer, pool)(paddle.ones([1, 1, 4, 4]))
    np.testing.assert_allclose(means[0, 0].numpy(), np.array([[4, 6], [6, 9]]) / 9, rtol=1e-6)


def shuffles(channels, groups):
    """Where the paper's shuffle puts each channel, and where the published code's does."""
    each = channels // groups
    paper = np.arange(channels).reshape(each, groups).T.flatten()
    return paper, np.argsort(paper)


def connections(places, groups):
    """The group before and the group behind the shuffle of each channel, and the order that sorts them."""
    each = len(places) // groups
    pairs = np.stack([np.arange(len(places)), places]) // each
    order = np.lexsort(pairs[::-1])
    return pairs[:, order].tolist(), order


@pytest.mark.parametrize(
    ("groups", "width", "same"), [(1, 36, True), (2, 50, True), (3, 60, True), (4, 68, False), (8, 96, False)]
)
def test_with_few_groups_both_shuffles_connect_them_alike(groups, width, same):
    """So that a permutation of inner channels makes one network of the other."""
    stages = [[connections(places, groups)[0] for places in shuffles(width * scale, groups)] for scale in (1, 2, 4)]
    assert all(paper == published for paper, published in stages) == same


def test_shufflenet_v1_in_the_published_order():
    """The shuffle behind the depthwise convolution and the other way round, its weights those of our block permuted."""
    block, x = ShuffleBlockV1(240, 240, 1, 3, 3), paddle.randn([2, 240, 5, 4])
    block.eval()
    paper, published = shuffles(60, 3)
    ours, theirs = (connections(places, 3)[1] for places in (paper, published))
    moved = np.empty(60, int)
    moved[theirs] = ours
    last = np.empty(60, int)
    last[published] = paper[moved]
    depthwise, (expand, after) = block.expand[0], block.expand[1]
    last = last.reshape(3, 20) - np.arange(0, 60, 20)[:, None]
    weight = np.concatenate(
        [rows[:, taken] for rows, taken in zip(np.split(expand.weight.numpy(), 3), last, strict=True)]
    )
    y = F.relu(norm(F.conv2d(x, paddle.to_tensor(block.reduce[0].weight.numpy()[moved]), groups=3), block.reduce[1]))
    y = F.conv2d(y, paddle.to_tensor(depthwise[0].weight.numpy()[paper[moved]]), padding=1, groups=60)
    y = norm(y, depthwise[1]).numpy()[:, np.argsort(published)]
    expected = F.relu(x + norm(F.conv2d(paddle.to_tensor(y), paddle.to_tensor(weight), groups=3), after))
    np.testing.assert_allclose(block(x).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_squeezenet_is_its_authors(version):
    """From the functions of their definition: no padding before the fires, windows at the border that are not full."""
    model = create_model("SqueezeNet", version=version, class_num=10)
    model.eval()
    x = paddle.randn([2, 3, 68, 61])
    layers = {name: dict(layer.named_parameters()) for name, layer in model.named_children()}

    def conv(y, weights, name, **how):
        return F.relu(F.conv2d(y, weights[f"{name}weight"], weights[f"{name}bias"], **how))

    y, pools = conv(x, layers["_conv"], "", stride=2), {1, 4, 8} if version == "1.0" else {1, 3, 5}
    for number in range(1, 9):
        y = F.max_pool2d(y, 3, 2, ceil_mode=True) if number in pools else y
        fire = layers[f"_conv{number}"]
        y = conv(y, fire, "_conv._conv.")
        y = paddle.concat([conv(y, fire, "_conv_path1._conv."), conv(y, fire, "_conv_path2._conv.", padding=1)], axis=1)
    expected = conv(y, layers["_conv9"], "").mean([2, 3])
    np.testing.assert_allclose(model(x).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


VISION = [
    name for name in BACKBONES.names() if any("paddle.vision" in it.__module__ for it in BACKBONES.get(name).__mro__)
]


@pytest.mark.parametrize("name", VISION)
def test_dropout_changes_nothing_in_evaluation(name):
    model = create_model(name, class_num=10)
    model.eval()
    ones = paddle.ones([4])
    assert all((layer(ones) == ones).all() for layer in model.sublayers() if isinstance(layer, nn.Dropout))


HEAVY = {"ResNet101", "ResNet152", "ResNeXt101", "SKNet50", "Res2Net50", "InceptionResNetV2", "InceptionV4", "Xception"}


def sparing(names):
    """The heavy ones are left to the slow tests."""
    return [pytest.param(name, marks=[pytest.mark.full] if name in HEAVY else []) for name in names]


def test_the_running_variance_is_biased():
    layer, x = nn.BatchNorm2D(1), paddle.to_tensor([0.0, 2.0]).reshape([2, 1, 1, 1])
    layer(x)
    assert float(layer._variance) == pytest.approx(0.9 + 0.1 * 1)


@pytest.mark.parametrize("name", sparing(FEATURES))
def test_feature_maps(name):
    model = create_model(name, features=True)
    assert (model.channels, model.strides) == FEATURES[name]
    epsilons = {layer._epsilon for layer in model.sublayers() if isinstance(layer, NORMS)}
    assert epsilons <= {1e-3 if name.startswith("MobileNetV3") else 1e-5}
    side = 64 if BACKBONES.get(name).image_shape[1] % 16 == 0 else 96
    model.eval()
    maps = model(paddle.randn([2, 3, side, side]))
    assert [value.shape[:2] for value in maps] == [[2, channels] for channels in model.channels]


def test_networks_with_a_page_row_and_feature_maps_are_all_new_backbones():
    """Nothing registered is left out."""
    named = {ppeconv.config.load(row["config"]).Arch.name for row in ROWS}
    named |= {row["arch"]["name"] for row in ROWS if "name" in row.get("arch", {})}
    older = {"LeNet", "LeNet3C1L", "ResNet18", "ResNet34", "VGG16", "VGG16Cifar"}
    small = {f"ResNet{depth}" for depth in (14, 20, 32, 56, 110)}
    assert named | older | small == set(BACKBONES.names())


@pytest.mark.parametrize("name", sparing(name for name in BACKBONES.names() if BACKBONES.accepts(name, "stem")))
def test_cifar_stem_keeps_small_images_large(name):
    model = create_model(name, class_num=5, stem="cifar", in_channels=1)
    model.eval()
    plain = create_model(name, class_num=5, in_channels=1)
    plain.eval()
    x = paddle.randn([2, 1, 32, 32])
    small, large = plain.stages(x)[-1].shape[2], model.stages(x)[-1].shape[2]
    assert model(x).shape == [2, 5]
    assert large >= 2 * small


@pytest.mark.parametrize("name", sparing(["InceptionV3", "InceptionV4", "MobileFaceNet", "Xception"]))
def test_grey_images(name):
    model = create_model(name, class_num=5, in_channels=1)
    model.eval()
    assert model(paddle.randn([1, 1, 112, 112])).shape == [1, 5]


@pytest.mark.parametrize(
    ("name", "operator"), [("DPN68", "GhostConv"), ("MixNetS", "CompConv"), ("SqueezeNet", "SPConv")]
)
def test_operators_go_into_them(name, operator):
    model, report = replace_conv(create_model(name, class_num=5, stem="cifar"), operator)
    assert report.replaced
    assert not any("depthwise.0.conv" in row.path for row in report.rows)
    model.eval()
    assert model(paddle.randn([1, 3, 32, 32])).shape == [1, 5]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("ShuffleNetV2", {"width": 0.7}, "should be 0.5, 1.0, 1.5 or 2.0; got 0.7"),
        ("MobileFaceNet", {"image_size": 100}, "multiple of 16; got 100"),
        ("Res2Net50", {"scale": 1}, "scale should be an integer from 2 to 64; got 1"),
        ("ShuffleNetV1", {"groups": 5}, "should be 1, 2, 3, 4 or 8; got 5"),
        (None, {}, "a network is named by a text, such as .ResNet20.; got None"),
    ],
)
def test_refusals_are_sentences(name, arguments, words):
    with pytest.raises(UserError, match=words):
        create_model(name, **arguments)


def test_paddle_visions_own_differ_where_said():
    """The 2.0x ShuffleNetV2 is narrower than the paper's, the GoogLeNet has two more classifiers."""
    count = ppeconv.parameter_count
    assert count(create_model("paddle.vision.shufflenet_v2_x2_0")) == 7_366_536
    googlenet = create_model("paddle.vision.googlenet")
    assert count(googlenet) == 11_535_736
    aux = sum(count(layer) for name, layer in googlenet.named_children() if name.endswith(("o1", "o2", "out1", "out2")))
    ours = create_model("InceptionV1", batch_norm=False)
    biases = sum(layer.bias.shape[0] for layer in ours.sublayers() if isinstance(layer, nn.Conv2D))
    assert count(googlenet) - aux == count(ours) - biases


def test_networks_yaml_has_no_unknown_keys():
    keys = {"name", "config", "arch", "operator", "rules", "side", "counts", "source", "note", "heavy"}
    rows = yaml.safe_load((ROOT / "scripts" / "networks.yaml").read_text("utf-8"))
    assert all(set(row) <= keys for row in rows)
    assert all("source" in row for row in rows if "counts" in row)


def test_the_drop_path_keeps_the_mean():
    model = create_model("EfficientNetB0", class_num=5, stem="cifar")
    drop = next(layer for layer in model.sublayers() if type(layer).__name__ == "DropPath" and layer.keep < 1)
    drop.keep = 0.5
    x = paddle.ones([4000, 1, 1, 1])
    drop.train()
    assert set(drop(x).flatten().tolist()) == {0.0, 2.0}
    assert float(drop(x).mean()) == pytest.approx(1, abs=0.1)
    drop.eval()
    assert (drop(x) == x).all()


@pytest.mark.parametrize("name", ["mobilenetv2_gdc_cifar10", "resnet20_spconv_se_cifar10", "vgg16_se_cifar10"])
def test_shipped_cifar_configs_build(name):
    config = ppeconv.config.with_values(
        ppeconv.config.load(name), {"Arch.class_num": 10, "Infer.image_shape": [3, 32, 32]}
    )
    model, reports = Parts(config).model()
    assert len(reports) == len(config.operators)
    model.eval()
    assert model(paddle.randn(CIFAR)).shape == [1, 10]
