"""SKNet: ResNeXt whose 3x3 convolutions are selective kernels.

Paper: Selective Kernel Networks, CVPR 2019, arXiv 1903.06586.
"""

from __future__ import annotations

from typing import ClassVar

from paddle import nn

from ppeconv.backbones.resnet import Bottleneck
from ppeconv.backbones.resnext import ResNeXt
from ppeconv.operators.skconv import SKConv
from ppeconv.registry import BACKBONES


class SKBottleneck(Bottleneck):
    """ResNeXt's block with SKConv in place of the 3x3, its batch norm and its ReLU."""

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int,
        downsample: nn.Layer | None,
        cardinality: int = 32,
        path_width: int = 4,
    ):
        super().__init__(inputs, planes, stride, downsample, cardinality, path_width)
        inner = self.conv2._out_channels
        self.conv2 = SKConv(inner, inner, 3, stride, 1, groups=cardinality, bias_attr=False)
        self.bn2 = nn.Identity()


@BACKBONES.register(aliases=("SKResNeXt50",))
class SKNet50(ResNeXt):
    """SKNet-50, SK[2, 32, 16] on ResNeXt-50 32x4d."""

    block: ClassVar = SKBottleneck
    depths = 3, 4, 6, 3
