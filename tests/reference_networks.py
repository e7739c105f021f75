"""Published networks built from operators, as oracles for counts."""

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppeconv import create_operator
from ppeconv.backbones.width import make_divisible


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
    from ppeconv import replace_conv

    model, _ = replace_conv(paddle.vision.models.resnext50_32x4d(), "SKConv", {"groups": "grouped"})
    for layer in model.sublayers():
        if hasattr(layer, "conv3") and hasattr(layer, "bn2"):
            layer.bn2 = nn.Identity()
    return model
