"""Parameters and MACs of the operators, row by row, against published and independently computed figures."""

import math

import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

import ppeconv
from ppeconv import create_backbone, create_model, create_operator, replace_conv
from ppeconv.backbones.width import make_divisible

# Published networks built from operators.


class Squeeze(nn.Layer):
    """Squeeze-and-excitation with biases."""

    def __init__(self, channels, reduced):
        super().__init__()
        self.reduce, self.expand = nn.Conv2D(channels, reduced, 1), nn.Conv2D(reduced, channels, 1)

    def forward(self, x):
        return x * F.sigmoid(self.expand(F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1)))))


class Residual(nn.Layer):
    def __init__(self, path, shortcut):
        super().__init__()
        self.path, self.shortcut = path, shortcut

    def forward(self, x):
        return self.path(x) + self.shortcut(x)


def conv_bn(inputs, outputs, kernel, stride=1, groups=1, act=True):
    return nn.Sequential(
        nn.Conv2D(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias_attr=False),
        nn.BatchNorm2D(outputs),
        *([nn.ReLU()] if act else []),
    )


def ghost(inputs, outputs, inner):
    return create_operator("GhostConv", inputs, outputs, 1, bias_attr=False, inner=inner)


GHOST_ROWS = (
    "3,16,16,0,1 3,48,24,0,2 3,72,24,0,1 5,72,40,1,2 5,120,40,1,1 3,240,80,0,2 3,200,80,0,1 3,184,80,0,1 "
    "3,184,80,0,1 3,480,112,1,1 3,672,112,1,1 5,672,160,1,2 5,960,160,0,1 5,960,160,1,1 5,960,160,0,1 5,960,160,1,1"
)


def ghostnet(width):
    """GhostNet, arXiv 1911.11907."""

    def channels(base):
        return make_divisible(base * width, 4)

    inputs = channels(16)
    layers = [conv_bn(3, inputs, 3, 2)]
    for row in GHOST_ROWS.split():
        kernel, hidden, outputs, se, stride = map(int, row.split(","))
        hidden, outputs = channels(hidden), channels(outputs)
        path = [ghost(inputs, hidden, "bn_relu")]
        path += [conv_bn(hidden, hidden, kernel, stride, hidden, act=False)] if stride == 2 else []
        path += [Squeeze(hidden, make_divisible(hidden / 4, 4))] if se else []
        path += [ghost(hidden, outputs, "bn")]
        shortcut = nn.Identity()
        if stride == 2 or inputs != outputs:
            shortcut = nn.Sequential(
                conv_bn(inputs, inputs, kernel, stride, inputs, act=False), conv_bn(inputs, outputs, 1, act=False)
            )
        layers.append(Residual(nn.Sequential(*path), shortcut))
        inputs = outputs
    last = channels(960)
    head = [nn.AdaptiveAvgPool2D(1), nn.Conv2D(last, 1280, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers, conv_bn(inputs, last, 1), *head)


MIX_ROWS = (  # kernels, expansion groups, projection groups, stride, expansion, outputs, se
    ([3], 2, 2, 2, 6, 24, 0),
    ([3], 2, 2, 1, 3, 24, 0),
    ([3, 5, 7], 1, 1, 2, 6, 40, 0.5),
    *[([3, 5], 2, 2, 1, 6, 40, 0.5)] * 3,
    ([3, 5, 7], 1, 2, 2, 6, 80, 0.25),
    *[([3, 5], 1, 2, 1, 6, 80, 0.25)] * 2,
    ([3, 5, 7], 2, 2, 1, 6, 120, 0.5),
    *[([3, 5, 7, 9], 2, 2, 1, 3, 120, 0.5)] * 2,
    ([3, 5, 7, 9, 11], 1, 1, 2, 6, 200, 0.5),
    *[([3, 5, 7, 9], 1, 2, 1, 6, 200, 0.5)] * 2,
)


def mixnet_s():
    """MixNet-S, arXiv 1907.09595."""

    def point(inputs, outputs, groups):
        return [
            create_operator("GroupConv", inputs, outputs, 1, bias_attr=False, conv_groups=groups),
            nn.BatchNorm2D(outputs),
        ]

    inputs = 16
    layers = [
        conv_bn(3, 16, 3, 2),
        Residual(nn.Sequential(conv_bn(16, 16, 3, groups=16), conv_bn(16, 16, 1)), nn.Identity()),
    ]
    for kernels, expand_groups, project_groups, stride, expansion, outputs, se in MIX_ROWS:
        hidden = inputs * expansion
        mixed = create_operator(
            "MixConv", hidden, hidden, 3, stride, 1, groups=hidden, bias_attr=False, kernel_sizes=kernels
        )
        path = [*point(inputs, hidden, expand_groups), mixed, nn.BatchNorm2D(hidden)]
        path += [Squeeze(hidden, int(inputs * se))] if se else []
        layers.append(nn.Sequential(*path, *point(hidden, outputs, project_groups)))
        inputs = outputs
    head = [nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(1536, 1000)]
    return nn.Sequential(*layers, conv_bn(inputs, 1536, 1), *head)


def squeezenet(version):
    """SqueezeNet, arXiv 1602.07360, with the pooling of `paddle.vision`."""

    def fires(inputs, *outputs):
        pairs = zip([inputs, *outputs], outputs, strict=False)
        return [create_operator("FireConv", *pair, 3, padding=1) for pair in pairs]

    def pool():
        return nn.MaxPool2D(3, 2)

    if version == "1.0":
        layers = [nn.Conv2D(3, 96, 7, 2), pool(), *fires(96, 128, 128, 256), pool()]
        layers += [*fires(256, 256, 384, 384, 512), pool(), *fires(512, 512)]
    else:
        layers = [nn.Conv2D(3, 64, 3, 2, 1), pool(), *fires(64, 128, 128), pool(), *fires(128, 256, 256), pool()]
        layers += fires(256, 384, 384, 512, 512)
    return nn.Sequential(*layers, nn.Conv2D(512, 1000, 1))


def sknet50():
    """SKNet-50, arXiv 1903.06586: SK on the 3x3 of ResNeXt-50 32x4d, in place of convolution, norm and activation."""
    model, _ = replace_conv(paddle.vision.models.resnext50_32x4d(), "SKConv", {"groups": "grouped"})
    for layer in model.sublayers():
        if hasattr(layer, "conv3") and hasattr(layer, "bn2"):
            layer.bn2 = nn.Identity()
    return model


# The tables.

IMAGENET, CIFAR = [1, 3, 224, 224], [1, 3, 32, 32]
EVERY = {"min_kernel": 1, "skip_first": False}


def put(backbone, operator, rules=None, own=None, **arguments):
    return lambda: create_model(backbone, operator=operator, rules=rules, operator_args=own, **arguments)


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
    "GhostNet 0.5": (lambda: ghostnet(0.5), IMAGENET, 2_587_292, 42_328_152),
    "GhostNet 1.0": (lambda: ghostnet(1.0), IMAGENET, 5_182_508, 141_150_512),
    "GhostNet 1.3": (lambda: ghostnet(1.3), IMAGENET, 7_358_820, 227_003_256),
    "Het ResNet50 P=4": (put("ResNet50", "HetConv"), IMAGENET, 18_012_200, 2_856_058_880),
    # the published host has no biases in its 12 replaced convolutions, this one 4,160
    "Het VGG16 P=4": (put("VGG16Cifar", "HetConv"), CIFAR, 5_181_962 + 4_160, None),
    "Het VGG16 P=8": (put("VGG16Cifar", "HetConv", own={"parts": 8}), CIFAR, 3_547_658 + 4_160, None),
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
    "MixNet-S": (mixnet_s, IMAGENET, 4_134_606, 239_173_360),
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
    "SKNet50": (sknet50, IMAGENET, 27_479_784, 4_462_710_784),
    "SqueezeNet 1.0": (lambda: squeezenet("1.0"), IMAGENET, 1_248_424, 777_221_152),
    "SqueezeNet 1.1": (lambda: squeezenet("1.1"), IMAGENET, 1_235_496, 349_537_280),
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
