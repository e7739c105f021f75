"""ResNet for ImageNet and, with a small stem, for CIFAR.

Paper: Deep Residual Learning for Image Recognition, arXiv 1512.03385. Stride on the 3x3 of a bottleneck.
Parameter names are those of `paddle.vision.models.resnet`, so its weights load.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from paddle import Tensor, nn

from ppeconv.backbones.width import scaled
from ppeconv.domains import Channels, Classes, Multiplier
from ppeconv.recalibration.base import RecalibrationSlot
from ppeconv.registry import BACKBONES


class BasicBlock(nn.Layer):
    """Two 3x3 convolutions around a shortcut: [N, inputs, H, W] -> [N, planes, H/stride, W/stride]."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, downsample: nn.Layer | None):
        super().__init__()
        self.conv1 = nn.Conv2D(inputs, planes, 3, stride, 1, bias_attr=False)
        self.bn1 = nn.BatchNorm2D(planes)
        self.conv2 = nn.Conv2D(planes, planes, 3, 1, 1, bias_attr=False)
        self.bn2 = nn.BatchNorm2D(planes)
        self.relu = nn.ReLU()
        self.recalibration = RecalibrationSlot(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.recalibration(self.bn2(self.conv2(out))) + shortcut)


class Bottleneck(nn.Layer):
    """1x1, 3x3, 1x1 around a shortcut: [N, inputs, H, W] -> [N, 4 planes, H/stride, W/stride].

    Args:
        inputs, planes, stride, downsample: as in every block.
        cardinality, path_width: the 3x3 is of planes x path_width / 64 x cardinality channels in that many groups.
    """

    expansion = 4

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int,
        downsample: nn.Layer | None,
        cardinality: int = 1,
        path_width: int = 64,
    ):
        super().__init__()
        inner = max(1, planes * path_width // 64) * cardinality
        self.conv1 = nn.Conv2D(inputs, inner, 1, bias_attr=False)
        self.bn1 = nn.BatchNorm2D(inner)
        self.conv2 = nn.Conv2D(inner, inner, 3, stride, 1, groups=cardinality, bias_attr=False)
        self.bn2 = nn.BatchNorm2D(inner)
        self.conv3 = nn.Conv2D(inner, planes * self.expansion, 1, bias_attr=False)
        self.bn3 = nn.BatchNorm2D(planes * self.expansion)
        self.relu = nn.ReLU()
        self.recalibration = RecalibrationSlot(planes * self.expansion)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.recalibration(self.bn3(self.conv3(out))) + shortcut)


class ResNet(nn.Layer):
    """[N, in_channels, H, W] -> [N, class_num].

    Args:
        class_num: number of classes.
        width: channel multiplier.
        stem: "imagenet" is a 7x7 convolution of stride 2 and a max pool; "cifar" one 3x3 convolution.
        in_channels: channels of the image.
    """

    image_shape = (3, 224, 224)
    init = "he_fan_out"
    head = "fc"
    block: ClassVar[type[BasicBlock] | type[Bottleneck]]
    depths: ClassVar[tuple[int, ...]]

    def __init__(
        self,
        block_arguments: Mapping[str, Any] | None = None,
        *,
        class_num: Classes = 1000,
        width: Multiplier = 1.0,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        in_channels: Channels = 3,
    ):
        super().__init__()
        inputs = scaled(64, width)
        if stem == "imagenet":
            self.conv1 = nn.Conv2D(in_channels, inputs, 7, 2, 3, bias_attr=False)
            self.maxpool = nn.MaxPool2D(3, 2, 1)
        else:
            self.conv1 = nn.Conv2D(in_channels, inputs, 3, 1, 1, bias_attr=False)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2D(inputs)
        self.relu = nn.ReLU()
        for stage, depth in enumerate(self.depths):
            planes = scaled(64 * 2**stage, width)
            stride = 1 if stage == 0 else 2
            blocks = _stage(self.block, inputs, planes, depth, stride, block_arguments or {})
            self.add_sublayer(f"layer{stage + 1}", blocks)
            inputs = planes * self.block.expansion
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(inputs, class_num)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The output of each stage: strides 4, 8, 16, 32, with the small stem 1, 2, 4, 8."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = []
        for stage in range(len(self.depths)):
            x = getattr(self, f"layer{stage + 1}")(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.stages(x)[-1]).flatten(1))


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    inputs: int,
    planes: int,
    depth: int,
    stride: int,
    arguments: Mapping[str, Any],
) -> nn.Sequential:
    outputs = planes * block.expansion
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(nn.Conv2D(inputs, outputs, 1, stride, bias_attr=False), nn.BatchNorm2D(outputs))
    return nn.Sequential(
        block(inputs, planes, stride, downsample, **arguments),
        *[block(outputs, planes, 1, None, **arguments) for _ in range(depth - 1)],
    )


@BACKBONES.register
class ResNet18(ResNet):
    """ResNet-18 of basic blocks."""

    imagenet_weights = "resnet18"
    block, depths = BasicBlock, (2, 2, 2, 2)


@BACKBONES.register
class ResNet34(ResNet):
    """ResNet-34 of basic blocks."""

    imagenet_weights = "resnet34"
    block, depths = BasicBlock, (3, 4, 6, 3)


@BACKBONES.register
class ResNet50(ResNet):
    """ResNet-50 of bottleneck blocks."""

    imagenet_weights = "resnet50"
    block, depths = Bottleneck, (3, 4, 6, 3)


@BACKBONES.register
class ResNet101(ResNet):
    """ResNet-101 of bottleneck blocks."""

    imagenet_weights = "resnet101"
    block, depths = Bottleneck, (3, 4, 23, 3)


@BACKBONES.register
class ResNet152(ResNet):
    """ResNet-152 of bottleneck blocks."""

    imagenet_weights = "resnet152"
    block, depths = Bottleneck, (3, 8, 36, 3)
