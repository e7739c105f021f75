"""Parameters and MACs of the operators, row by row, against published and independently computed figures."""

import math

import pytest
from paddle import nn

import ppeconv
from ppeconv import create_backbone, create_model, create_operator, replace_conv

# Published networks built from operators.


def squeezenet(version):
    """SqueezeNet, arXiv 1602.07360, as its authors define it: no padding but in the fires, pools that round up."""

    def fires(inputs, *outputs):
        pairs = zip([inputs, *outputs], outputs, strict=False)
        return [create_operator("FireConv", *pair, 3, padding=1) for pair in pairs]

    def pool():
        return nn.MaxPool2D(3, 2, ceil_mode=True)

    if version == "1.0":
        layers = [nn.Conv2D(3, 96, 7, 2), pool(), *fires(96, 128, 128, 256), pool()]
        layers += [*fires(256, 256, 384, 384, 512), pool(), *fires(512, 512)]
    else:
        layers = [nn.Conv2D(3, 64, 3, 2), pool(), *fires(64, 128, 128), pool(), *fires(128, 256, 256), pool()]
        layers += fires(256, 384, 384, 512, 512)
    return nn.Sequential(*layers, nn.Conv2D(512, 1000, 1))


# The tables.

IMAGENET, CIFAR = [1, 3, 224, 224], [1, 3, 32, 32]
EVERY = {"min_kernel": 1, "skip_first": False}


def put(backbone, operator, rules=None, own=None, **arguments):
    return lambda: create_model(backbone, operator=operator, rules=rules, operator_args=own, **arguments)


def unmasked(parts):
    return {"parts": parts, "form": "unmasked"}


def published_het_vgg16(parts):
    """On the published host, whose convolutions have no biases but the first."""
    host = create_backbone("VGG16Cifar")
    for conv in [layer for layer in host.sublayers() if isinstance(layer, nn.Conv2D)][1:]:
        conv.bias = None
    return replace_conv(host, "HetConv", parts=parts)[0]


def versatile_resnet(name):
    """Spatial in the stem, which has no channels to spare, spatial and channel everywhere else."""
    model = create_model(name, operator="SpatialVersatileConv", rules={**EVERY, "include": ["conv1"]})
    return replace_conv(model, "VersatileConv", EVERY)[0]


def versatile_vgg16():
    """Convolutions and the first linear layer, as a 7x7 convolution, with spatial versatile filters."""
    model, _ = replace_conv(create_backbone("VGG16"), "SpatialVersatileConv", EVERY)
    linear = create_operator("SpatialVersatileConv", 512, 4096, 7)
    return nn.Sequential(model.features, linear, nn.Flatten(), *list(model.classifier.children())[1:])


NETWORKS = {
    "Ghost ResNet50 s=2": (put("ResNet50", "GhostConv"), IMAGENET, 13_953_512, 2_151_023_360),
    "Ghost ResNet50 s=4": (put("ResNet50", "GhostConv", own={"ratio": 4}), IMAGENET, 8_151_752, 1_181_942_912),
    "Ghost VGG16": (put("VGG16Cifar", "GhostConv", own={"inner": "bn_relu"}), CIFAR, 7_660_458, 158_699_520),
    "Ghost ResNet56": (
        put("ResNet56", "GhostConv", own={"inner": "bn_relu"}, shortcut="A"),
        CIFAR,
        442_186,
        65_286_784,
    ),
    "Het ResNet50 P=4": (put("ResNet50", "HetConv"), IMAGENET, 18_012_200, 2_856_058_880),
    "Het VGG16 P=4": (lambda: published_het_vgg16(4), CIFAR, 5_181_962, None),
    "Het VGG16 P=8": (lambda: published_het_vgg16(8), CIFAR, 3_547_658, None),
    # 16.62 M is the "VGG16 baseline" of the SPConv paper
    "Het VGG16 P=1 unmasked": (put("VGG16Cifar", "HetConv", own=unmasked(1)), CIFAR, 16_622_090, 348_066_816),
    "Het VGG16 P=2 unmasked": (put("VGG16Cifar", "HetConv", own=unmasked(2)), CIFAR, 9_267_722, 192_353_280),
    "Het VGG16 P=4 unmasked": (put("VGG16Cifar", "HetConv", own=unmasked(4)), CIFAR, 5_590_538, 114_496_512),
    "Het VGG16 P=8 unmasked": (put("VGG16Cifar", "HetConv", own=unmasked(8)), CIFAR, 3_751_946, 75_568_128),
    "Oct ResNet50 a=1/4": (put("ResNet50", "OctaveConv", {"flow": True}), IMAGENET, 25_557_032, 3_103_526_912),
    "Oct ResNet50 a=1/2": (
        put("ResNet50", "OctaveConv", {"flow": True}, {"alpha": 0.5}),
        IMAGENET,
        25_557_032,
        2_367_143_936,
    ),
    "Oct paddle.vision": (
        put("paddle.vision.resnet50", "OctaveConv", {"flow": True}, {"alpha": 0.5}),
        IMAGENET,
        25_557_032,
        2_367_143_936,
    ),
    "SpatialVersatile ResNet50": (
        put("ResNet50", "SpatialVersatileConv", EVERY),
        IMAGENET,
        19_891_352,
        3_199_664_128,
    ),
    "SpatialVersatile ResNet18": (
        put("ResNet18", "SpatialVersatileConv", EVERY),
        IMAGENET,
        6_189_720,
        1_001_623_552,
    ),
    "Versatile ResNet50": (lambda: versatile_resnet("ResNet50"), IMAGENET, 10_978_056, 3_183_833_600),
    "Versatile ResNet18": (lambda: versatile_resnet("ResNet18"), IMAGENET, 3_348_248, 993_921_536),
    "SpatialVersatile VGG16": (versatile_vgg16, IMAGENET, 53_931_976, 8_590_819_328),
    "SqueezeNet 1.0": (lambda: squeezenet("1.0"), IMAGENET, 1_248_424, 818_924_576),
    "SqueezeNet 1.1": (lambda: squeezenet("1.1"), IMAGENET, 1_235_496, 349_151_936),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    build, size, params, macs = NETWORKS[name]
    counts = ppeconv.count(build(), size)
    assert counts.params == params
    assert macs is None or counts.macs == macs


@pytest.mark.parametrize(
    ("backbone", "rules", "arguments", "millions", "gigas"),
    [
        ("VGG16Cifar", None, {"head_layers": 1}, 3.93, 0.1521),
        ("ResNet56", None, {"shortcut": "A"}, 0.647, 0.0948),
        ("ResNet50", {"min_kernel": 2}, {}, 17.40, 3.15),
        ("ResNet50", None, {}, 10.41, 2.26),
    ],
)
def test_predicted_totals_of_the_compconv_reconstruction(backbone, rules, arguments, millions, gigas):
    size = IMAGENET if backbone == "ResNet50" else CIFAR
    counts = ppeconv.count(put(backbone, "CompConv", rules, **arguments)(), size)
    assert counts.params / 1e6 == pytest.approx(millions, rel=2e-3)
    assert counts.macs / 1e9 == pytest.approx(gigas, rel=2e-3)


LAYERS = [  # operator, channels in and out, kernel, stride, own arguments, convolution weights
    ("SPConv", 32, 32, 3, 1, {"ratio": 0.5}, 32 * 32 * 13 // 4),
    ("SPConv", 64, 64, 3, 1, {"ratio": 1 / 16}, round(64 * 64 * (9 / 32 + 1))),
    ("CompConv", 64, 64, 3, 1, {"depth": 1}, 27_648),
    ("CompConv", 128, 128, 3, 1, {}, 110_592),
    ("CompConv", 256, 256, 3, 1, {}, 197_370),
    ("CompConv", 512, 512, 3, 1, {}, 482_850),
    ("GhostConv", 24, 30, 3, 1, {}, 24 * 15 * 9 + 15 * 9),
    ("GhostConv", 24, 31, 3, 1, {"ratio": 4, "cheap_kernel": 5}, 24 * 8 * 9 + 8 * 3 * 25),
    ("HetConv", 64, 64, 3, 1, {"parts": 2}, 64 * 64 * 9 * 5 // 9),
    ("HetConv", 64, 64, 3, 1, {"parts": 64}, 64 * 64 * 9 // 8),
    ("OctaveConv", 64, 32, 3, 1, {"alpha": 0.5}, 64 * 32 * 9),
    ("MixConv", 64, 48, 3, 1, {"kernel_sizes": [3, 5, 7]}, 22 * 9 + 21 * 25 + 21 * 49 + 64 * 48),
    ("GroupConv", 64, 32, 3, 1, {"conv_groups": 4}, 9 * 64 * 32 // 4),
    ("DepthwiseSeparableConv", 64, 32, 3, 1, {}, 9 * 64 + 64 * 32),
    ("BottleneckConv", 256, 256, 3, 1, {}, 69_632),
    ("Conv2D", 256, 256, 3, 1, {}, 589_824),
    ("KernelReplaceConv", 50, 50, 5, 1, {"form": "stacked"}, 25 * 50 * 50 * 18 // 25),
    ("KernelReplaceConv", 50, 50, 7, 1, {}, 49 * 50 * 50 * 2 // 7),
    ("InceptionConv", 192, 256, 3, 1, {"widths": [64, 96, 128, 16, 32, 32]}, 192 * 208 + 9 * 96 * 128 + 25 * 16 * 32),
    (
        "InceptionConv",
        256,
        480,
        3,
        1,
        {"widths": [128, 128, 192, 32, 96, 64]},
        256 * 352 + 9 * 128 * 192 + 25 * 32 * 96,
    ),
    ("FireConv", 96, 128, 3, 1, {}, 96 * 16 + 16 * 64 + 9 * 16 * 64),
    ("Res2Conv", 256, 256, 3, 1, {"split_width": 26}, 256 * 104 + 9 * 26 * 26 * 3 + 104 * 256),
    ("AggregatedConv", 256, 256, 3, 1, {"cardinality": 32}, 256 * 128 + 9 * 128 * 128 // 32 + 128 * 256),
    ("ShuffleUnitV1", 240, 240, 3, 1, {"conv_groups": 3}, 2 * 240 * 60 // 3 + 9 * 60),
    ("ShuffleUnitV1", 240, 480, 3, 2, {"conv_groups": 3}, 240 * 120 // 3 + 9 * 120 + 120 * 240 // 3),
    ("ShuffleUnitV1", 24, 240, 3, 2, {"conv_groups": 3, "first_groups": 1}, 24 * 60 + 9 * 60 + 60 * 216 // 3),
    ("ShuffleUnitV2", 116, 116, 3, 1, {}, 2 * 58 * 58 + 9 * 58),
    ("ShuffleUnitV2", 116, 232, 3, 2, {}, 9 * 116 + 2 * 116 * 116 + 9 * 116 + 116 * 116),
    ("SKConv", 64, 64, 3, 1, {}, 2 * 9 * 64 * 64 + 64 * 32 + 2 * 32 * 64),
    ("ParallelDownsample", 64, 96, 3, 2, {"share": 0.9}, 64 * 32 * 9),
    ("SpatialVersatileConv", 512, 4096, 7, 1, {}, 25_088 * 4096 // 4),
    ("ChannelVersatileConv", 64, 64, 3, 1, {"delta": 3}, 16 * 61 * 9),
    ("VersatileConv", 64, 64, 5, 1, {}, 11 * 63 * 25),
    ("MaskedVersatileConv", 64, 64, 3, 1, {"secondaries": 4}, 16 * 64 * 9),
]


@pytest.mark.parametrize("row", LAYERS, ids=lambda row: f"{row[0]} {row[1]}->{row[2]}")
def test_weights_of_single_layers(row):
    operator, inputs, outputs, kernel, stride, own, weights = row
    layer = create_operator(operator, inputs, outputs, kernel, stride, kernel // 2, bias_attr=False, **own)
    assert sum(math.prod(p.shape) for p in layer.parameters() if p.ndim == 4) == weights


@pytest.mark.parametrize(
    ("operator", "kernel", "own", "ratio"),
    [
        *[("SPConv", 3, {"ratio": 1 / n}, (4.5 / n + 1) / 9) for n in (2, 4, 8, 16)],
        *[("HetConv", 3, {"parts": n}, 1 / n + (1 - 1 / n) / 9) for n in (2, 4, 8, 16, 32, 64)],
        *[("OctaveConv", 3, {"alpha": a}, 1 - 0.75 * a * (2 - a)) for a in (0.125, 0.25, 0.5, 0.75)],
        ("SpatialVersatileConv", 3, {}, 10 / 18),
        ("SpatialVersatileConv", 5, {}, 35 / 75),
        ("SpatialVersatileConv", 7, {}, 84 / 196),
        ("CompConv", 3, {"depth": 1}, 0.75),
        ("CompConv", 3, {"depth": 2}, 0.3335),
        ("CompConv", 3, {"depth": 3}, 0.2044),
        ("DepthwiseSeparableConv", 3, {}, 1 / 192 + 1 / 9),
    ],
)
def test_macs_beside_the_plain_convolution(operator, kernel, own, ratio):
    layers = [
        create_operator(name, 192, 192, kernel, padding=kernel // 2, bias_attr=False, **arguments)
        for name, arguments in ((operator, own), ("Conv2D", {}))
    ]
    ours, plain = (ppeconv.count(layer, [1, 192, 8, 8]).macs for layer in layers)
    assert ours / plain == pytest.approx(ratio, rel=5e-3 if operator == "CompConv" else 1e-6)
