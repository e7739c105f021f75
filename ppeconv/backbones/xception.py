"""Xception.

Paper: Xception: Deep Learning with Depthwise Separable Convolutions, CVPR 2017, arXiv 1610.02357.
"""

from __future__ import annotations

from itertools import pairwise

from paddle import Tensor, nn

from ppeconv.backbones.layers import ConvNormAct, Staged, linear_classifier
from ppeconv.domains import Channels, Classes, ShareOrNone
from ppeconv.recalibration.base import RecalibrationSlot
from ppeconv.registry import BACKBONES


class XceptionBlock(nn.Layer):
    """Separable convolutions around a shortcut: [N, widths[0], H, W] -> [N, widths[-1], H/stride, W/stride].

    Args:
        widths: channels before the first convolution and behind each.
        stride: of the max pool at the end; 1 is no pool and, where the channels stay, a plain shortcut.
        rectified: a ReLU before the first convolution.
    """

    def __init__(self, *widths: int, stride: int = 1, rectified: bool = True):
        super().__init__()
        layers: list[nn.Layer] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.ReLU()] if layers or rectified else []
            layers.append(separable(inputs, outputs))
        self.path = nn.Sequential(*layers, *([nn.MaxPool2D(3, stride, 1)] if stride > 1 else []))
        self.recalibration = RecalibrationSlot(widths[-1])
        same = stride == 1 and widths[0] == widths[-1]
        self.shortcut = nn.Identity() if same else ConvNormAct(widths[0], widths[-1], 1, stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.recalibration(self.path(x))


@BACKBONES.register
class Xception(Staged):
    """Xception: [N, in_channels, H, W] -> [N, class_num], H and W 299 in the paper.

    Args:
        class_num: number of classes.
        in_channels: channels of the image.
        dropout: before the classifier.
    """

    image_shape = (3, 299, 299)
    init = "glorot"

    def __init__(self, *, class_num: Classes = 1000, in_channels: Channels = 3, dropout: ShareOrNone = 0.5):
        stages = [
            [ConvNormAct(in_channels, 32, 3, 2, 0), ConvNormAct(32, 64, 3, 1, 0)],
            [XceptionBlock(64, 128, 128, stride=2, rectified=False)],
            [XceptionBlock(128, 256, 256, stride=2)],
            [XceptionBlock(256, 728, 728, stride=2), *[XceptionBlock(728, 728, 728, 728) for _ in range(8)]],
            [
                XceptionBlock(728, 728, 1024, stride=2),
                separable(1024, 1536),
                nn.ReLU(),
                separable(1536, 2048),
                nn.ReLU(),
            ],
        ]
        super().__init__(stages, linear_classifier(2048, class_num, dropout))


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """Depthwise 3x3 and 1x1 with nothing between, and a batch norm."""
    return nn.Sequential(
        nn.Conv2D(inputs, inputs, 3, padding=1, groups=inputs, bias_attr=False),
        nn.Conv2D(inputs, outputs, 1, bias_attr=False),
        nn.BatchNorm2D(outputs),
    )
