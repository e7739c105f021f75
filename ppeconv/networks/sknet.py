"""SKNet: ResNeXt whose 3x3 convolutions are selective kernels.

Paper: Selective Kernel Networks, CVPR 2019, arXiv 1903.06586.
"""

from __future__ import annotations

from typing import Any, ClassVar

from paddle import nn

from ppeconv.backbones.resnet import Bottleneck
from ppeconv.backbones.resnext import ResNeXt
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.skconv import SKConv
from ppeconv.registry import BACKBONES


class SKBottleneck(Bottleneck):
    """ResNeXt's block with SKConv in place of the 3x3, its batch norm and its ReLU."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.conv2 = SKConv(**ConvGeometry.of_layer(self.conv2).conv_arguments())
        self.bn2 = nn.Identity()


@BACKBONES.register(aliases=("SKResNeXt50",))
class SKNet50(ResNeXt):
    """SKNet-50, SK[2, 32, 16] on ResNeXt-50 32x4d."""

    init = "he_fan_in_small_head"
    block: ClassVar = SKBottleneck
    depths = 3, 4, 6, 3
