"""Res2Net: bottleneck blocks whose 3x3 is a chain over splits of the channels.

Paper: Res2Net: A New Multi-scale Backbone Architecture, TPAMI 2021, arXiv 1904.01169.
"""

from __future__ import annotations

from typing import Literal

import paddle
from paddle import Tensor, nn

from ppeconv.backbones.layers import ConvNormAct
from ppeconv.backbones.resnet import ResNet
from ppeconv.domains import Channels, Classes, Multiplier, Scales
from ppeconv.recalibration.base import RecalibrationSlot
from ppeconv.registry import BACKBONES


class Res2Block(nn.Layer):
    """1x1 to splits of w channels, a chain of 3x3 over all but the last of them, 1x1, around a shortcut.

    As in the published code, the last split is the one that passes, and in the first block of a stage nothing is
    carried from split to split and the last split is average-pooled, the zeros around the map included in the means.
    """

    expansion = 4

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int,
        downsample: nn.Layer | None,
        scale: int,
        split_width: int,
        cardinality: int,
    ):
        super().__init__()
        width = max(1, planes * split_width // 64) * cardinality
        self.reduce = ConvNormAct(inputs, width * scale, 1)
        self.chain = nn.LayerList([ConvNormAct(width, width, 3, stride, groups=cardinality) for _ in range(scale - 1)])
        self.carries = downsample is None
        self.keep = nn.Identity() if self.carries else nn.AvgPool2D(3, stride, 1, exclusive=False)
        self.expand = ConvNormAct(width * scale, planes * self.expansion, 1, act=None)
        self.recalibration = RecalibrationSlot(planes * self.expansion)
        self.downsample = downsample
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        *splits, last = self.reduce(x).chunk(len(self.chain) + 1, axis=1)
        outputs: list[Tensor] = []
        for index, split in enumerate(splits):
            carried = split + outputs[-1] if index and self.carries else split
            outputs.append(self.chain[index](carried))
        out = self.recalibration(self.expand(paddle.concat([*outputs, self.keep(last)], axis=1)))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


@BACKBONES.register
class Res2Net50(ResNet):
    """Res2Net-50, 26w x 4s.

    Args:
        scale: number of splits.
        split_width: channels of each split in the first stage.
        cardinality: groups of each 3x3 convolution; 8 of width 4 is Res2NeXt-50.
    """

    block, depths = Res2Block, (3, 4, 6, 3)

    def __init__(
        self,
        *,
        scale: Scales = 4,
        split_width: Channels = 26,
        cardinality: Channels = 1,
        class_num: Classes = 1000,
        width: Multiplier = 1.0,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        in_channels: Channels = 3,
    ):
        super().__init__(
            {"scale": scale, "split_width": split_width, "cardinality": cardinality},
            class_num=class_num,
            width=width,
            stem=stem,
            in_channels=in_channels,
        )
