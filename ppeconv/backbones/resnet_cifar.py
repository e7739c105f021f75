"""The three-stage CIFAR ResNets, section 4.2 of arXiv 1512.03385."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

from paddle import Tensor, nn

from ppeconv.backbones.resnet import BasicBlock
from ppeconv.backbones.width import scaled
from ppeconv.domains import Channels, Classes, Multiplier
from ppeconv.layers.shortcut import ShortcutA
from ppeconv.registry import BACKBONES


class CifarResNet(nn.Layer):
    """[N, in_channels, H, W] -> [N, class_num]; three stages of 16, 32 and 64 channels at width 1.

    Args:
        class_num: number of classes.
        width: channel multiplier.
        shortcut: where the shape changes, "B" is a 1x1 convolution, "A" subsamples and pads with zero channels.
        in_channels: channels of the image.
    """

    image_shape = (3, 32, 32)
    init = "he_fan_in"
    head = "fc"
    depth: ClassVar[int]

    def __init__(
        self,
        *,
        class_num: Classes = 10,
        width: Multiplier = 1.0,
        shortcut: Literal["A", "B"] = "B",
        in_channels: Channels = 3,
    ):
        super().__init__()
        inputs = scaled(16, width)
        self.conv1 = nn.Conv2D(in_channels, inputs, 3, 1, 1, bias_attr=False)
        self.bn1 = nn.BatchNorm2D(inputs)
        self.relu = nn.ReLU()
        for stage in range(3):
            outputs = scaled(16 * 2**stage, width)
            blocks = [
                _block(inputs if index == 0 else outputs, outputs, 2 if stage and index == 0 else 1, shortcut)
                for index in range((self.depth - 2) // 6)
            ]
            self.add_sublayer(f"layer{stage + 1}", nn.Sequential(*blocks))
            inputs = outputs
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(inputs, class_num)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The output of each stage: strides 1, 2, 4."""
        first = self.layer1(self.relu(self.bn1(self.conv1(x))))
        second = self.layer2(first)
        return [first, second, self.layer3(second)]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.stages(x)[-1]).flatten(1))


def _block(inputs: int, outputs: int, stride: int, shortcut: str) -> BasicBlock:
    block = partial(BasicBlock, inputs, outputs, stride)
    if stride == 1 and inputs == outputs:
        return block(None)
    if shortcut == "A":
        return block(ShortcutA(inputs, outputs, stride))
    return block(nn.Sequential(nn.Conv2D(inputs, outputs, 1, stride, bias_attr=False), nn.BatchNorm2D(outputs)))


@BACKBONES.register
class ResNet14(CifarResNet):
    """CIFAR ResNet of 14 layers."""

    depth = 14


@BACKBONES.register
class ResNet20(CifarResNet):
    """CIFAR ResNet of 20 layers."""

    depth = 20


@BACKBONES.register
class ResNet32(CifarResNet):
    """CIFAR ResNet of 32 layers."""

    depth = 32


@BACKBONES.register
class ResNet56(CifarResNet):
    """CIFAR ResNet of 56 layers."""

    depth = 56


@BACKBONES.register
class ResNet110(CifarResNet):
    """CIFAR ResNet of 110 layers."""

    depth = 110
