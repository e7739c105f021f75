"""VGG16 with the ImageNet head, and the batch-normed VGG16 used on CIFAR.

Paper: Very Deep Convolutional Networks for Large-Scale Image Recognition, arXiv 1409.1556.
"""

from __future__ import annotations

from typing import Literal

import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.backbones.width import scaled
from ppeconv.domains import Channels, Classes, Multiplier
from ppeconv.recalibration.base import RecalibrationSlot
from ppeconv.registry import BACKBONES

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


@BACKBONES.register
class VGG16(nn.Layer):
    """VGG-16 with three linear layers: [N, in_channels, H, W] -> [N, class_num], H and W at least 32.

    Parameter names are those of `paddle.vision.models.vgg16`, so its weights load.

    Args:
        class_num: number of classes.
        width: channel multiplier, of the two hidden linear layers too.
        batch_norm: a batch norm after every convolution.
        in_channels: channels of the image.
    """

    image_shape = (3, 224, 224)
    init = "he_fan_out_small_head"
    head = "classifier"
    imagenet_weights = "vgg16"

    def __init__(
        self, *, class_num: Classes = 1000, width: Multiplier = 1.0, batch_norm: bool = False, in_channels: Channels = 3
    ):
        super().__init__()
        self.features = _features(in_channels, width, batch_norm)
        hidden = scaled(4096, width)
        self.classifier = nn.Sequential(
            nn.Linear(scaled(512, width) * 49, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, class_num),
        )

    def stages(self, x: Tensor) -> list[Tensor]:
        """What the pooling layers give: strides 2, 4, 8, 16, 32."""
        return _stages(self.features, x)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 7).flatten(1))


@BACKBONES.register
class VGG16Cifar(nn.Layer):
    """VGG-16 with batch norm and a small head: [N, in_channels, H, W] -> [N, class_num], H and W at least 32.

    Args:
        class_num: number of classes.
        width: channel multiplier.
        head_layers: 2 is linear 512-512 with batch norm and ReLU, then the classifier; 1 the classifier alone.
        in_channels: channels of the image.
    """

    image_shape = (3, 32, 32)
    init = "he_fan_out_small_head"
    head = "classifier"

    def __init__(
        self,
        *,
        class_num: Classes = 10,
        width: Multiplier = 1.0,
        head_layers: Literal[1, 2] = 2,
        in_channels: Channels = 3,
    ):
        super().__init__()
        self.features = _features(in_channels, width, batch_norm=True)
        channels = scaled(512, width)
        hidden = [nn.Linear(channels, channels), nn.BatchNorm1D(channels), nn.ReLU()] if head_layers == 2 else []
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.classifier = nn.Sequential(*hidden, nn.Linear(channels, class_num))

    def stages(self, x: Tensor) -> list[Tensor]:
        """What the pooling layers give: strides 2, 4, 8, 16, 32."""
        return _stages(self.features, x)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)).flatten(1))


def _features(inputs: int, width: float, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Layer] = []
    for channels, depth in _STAGES:
        outputs = scaled(channels, width)
        for _ in range(depth):
            layers.append(nn.Conv2D(inputs, outputs, 3, padding=1))
            rectified = nn.Sequential(nn.ReLU(), RecalibrationSlot(outputs))
            layers += [nn.BatchNorm2D(outputs), rectified] if batch_norm else [rectified]
            inputs = outputs
        layers.append(nn.MaxPool2D(2))
    return nn.Sequential(*layers)


def _stages(features: nn.Sequential, x: Tensor) -> list[Tensor]:
    maps = []
    for layer in features:
        x = layer(x)
        if isinstance(layer, nn.MaxPool2D):
            maps.append(x)
    return maps
