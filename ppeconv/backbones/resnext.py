"""ResNeXt: bottleneck blocks with a grouped 3x3.

Paper: Aggregated Residual Transformations for Deep Neural Networks, CVPR 2017, arXiv 1611.05431.
Parameter names are those of `paddle.vision.models.resnext50_32x4d`, so its weights load.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from ppeconv.backbones.resnet import Bottleneck, ResNet
from ppeconv.domains import Channels, Classes, Multiplier
from ppeconv.registry import BACKBONES


class ResNeXt(ResNet):
    """ResNet whose 3x3 convolutions are of cardinality groups.

    Args:
        cardinality: groups of each 3x3 convolution.
        path_width: channels of each group in the first stage.
    """

    block: ClassVar = Bottleneck

    def __init__(
        self,
        *,
        cardinality: Channels = 32,
        path_width: Channels = 4,
        class_num: Classes = 1000,
        width: Multiplier = 1.0,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        in_channels: Channels = 3,
    ):
        super().__init__(
            {"cardinality": cardinality, "path_width": path_width},
            class_num=class_num,
            width=width,
            stem=stem,
            in_channels=in_channels,
        )


@BACKBONES.register
class ResNeXt50(ResNeXt):
    """ResNeXt-50, 32x4d."""

    imagenet_weights = "resnext50_32x4d"
    depths = 3, 4, 6, 3


@BACKBONES.register
class ResNeXt101(ResNeXt):
    """ResNeXt-101, 32x4d."""

    imagenet_weights = "resnext101_32x4d"
    depths = 3, 4, 23, 3
