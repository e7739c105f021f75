"""MobileNetV2.

Paper: MobileNetV2: Inverted Residuals and Linear Bottlenecks, arXiv 1801.04381.
Parameter names are those of `paddle.vision.models.mobilenet_v2`, so its weights load.
"""

from __future__ import annotations

from typing import Literal

from paddle import Tensor, nn

from ppeconv.backbones.layers import ConvNormAct, linear_classifier
from ppeconv.backbones.width import make_divisible, scaled
from ppeconv.domains import Channels, Classes, Multiplier, ShareOrNone
from ppeconv.recalibration.base import RecalibrationSlot
from ppeconv.registry import BACKBONES

_BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, output channels, repeats, stride of the first."""


class InvertedResidual(nn.Layer):
    """1x1 expansion, depthwise 3x3, linear 1x1, with a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        expand = [ConvNormAct(inputs, hidden, 1, act=nn.ReLU6)] if expansion > 1 else []
        depthwise = ConvNormAct(hidden, hidden, 3, stride, groups=hidden, act=nn.ReLU6)
        depthwise.add_sublayer("recalibration", RecalibrationSlot(hidden))
        self.conv = nn.Sequential(
            *expand,
            depthwise,
            nn.Conv2D(hidden, outputs, 1, bias_attr=False),
            nn.BatchNorm2D(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


@BACKBONES.register
class MobileNetV2(nn.Layer):
    """MobileNetV2: [N, in_channels, H, W] -> [N, class_num].

    Args:
        class_num: number of classes.
        width: channel multiplier; the last convolution keeps 1280 channels below width 1.
        divisor: channels are rounded to a multiple of it, as the paper's 8; with 1 they are rounded as Python does.
        stem: "cifar" has stride 1 in the first convolution and in the first 24-channel block.
        in_channels: channels of the image.
        dropout: before the classifier.
    """

    image_shape = (3, 224, 224)
    init = "truncated"
    head = "classifier"
    whole_outputs = ("features.18.0",)
    """Layers that a narrower network keeps whole."""
    imagenet_weights = "mobilenetv2_1.0"

    def __init__(
        self,
        *,
        class_num: Classes = 1000,
        width: Multiplier = 1.0,
        divisor: Channels = 8,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        in_channels: Channels = 3,
        dropout: ShareOrNone = 0.2,
    ):
        super().__init__()

        def channels(base: int, width: float = width) -> int:
            return scaled(base, width) if divisor == 1 else make_divisible(base * width, divisor)

        small = stem == "cifar"
        inputs = channels(32)
        layers: list[nn.Layer] = [ConvNormAct(in_channels, inputs, 3, 1 if small else 2, act=nn.ReLU6)]
        for expansion, base, repeats, stride in _BLOCKS:
            for index in range(repeats):
                step = stride if index == 0 and not (small and base == 24) else 1
                layers.append(InvertedResidual(inputs, channels(base), step, expansion))
                inputs = channels(base)
        last = channels(1280, max(1.0, width))
        self.features = nn.Sequential(*layers, ConvNormAct(inputs, last, 1, act=nn.ReLU6))
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.classifier = linear_classifier(last, class_num, dropout)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The last maps of strides 4, 8, 16, 32 (with the small stem 1, 2, 4, 8), the fourth of all channels."""
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in (3, 6, 13, 18):
                maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)).flatten(1))
