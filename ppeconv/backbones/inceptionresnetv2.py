"""Inception-ResNet V2.

Paper: Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning, AAAI 2017, arXiv 1602.07261.
"""

from __future__ import annotations

import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.backbones.branches import Branches, chain, pool_chain
from ppeconv.backbones.layers import ConvNormAct, Staged, linear_classifier
from ppeconv.domains import Channels, Classes, ShareOrNone
from ppeconv.recalibration.base import RecalibrationSlot
from ppeconv.registry import BACKBONES


class InceptionResidual(nn.Layer):
    """Branches and a linear 1x1, scaled and added to the input.

    Args:
        channels: of input and output.
        widths: output channels of each branch.
        branches: the branches.
        scale: of what is added.
        activated: a ReLU behind the sum.
    """

    def __init__(
        self, channels: int, widths: list[int], branches: list[nn.Layer], scale: float, activated: bool = True
    ):
        super().__init__()
        self.branches = Branches(*branches)
        self.expand = nn.Conv2D(sum(widths), channels, 1)
        self.recalibration = RecalibrationSlot(channels)
        self.scale, self.activated = scale, activated

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.scale * self.recalibration(self.expand(self.branches(x)))
        return F.relu(y) if self.activated else y


@BACKBONES.register
class InceptionResNetV2(Staged):
    """Inception-ResNet V2: [N, in_channels, H, W] -> [N, class_num], H and W at least 75, 299 in the paper.

    Args:
        class_num: number of classes.
        in_channels: channels of the image.
        dropout: before the classifier.

    As the published code, not the paper's figure: the stem is that of Inception V3 with one Inception module behind it.
    """

    image_shape = (3, 299, 299)
    init = "glorot"

    def __init__(self, *, class_num: Classes = 1000, in_channels: Channels = 3, dropout: ShareOrNone = 0.2):
        stages = [
            [ConvNormAct(in_channels, 32, 3, 2, 0), ConvNormAct(32, 32, 3, 1, 0), ConvNormAct(32, 64, 3)],
            [nn.MaxPool2D(3, 2), ConvNormAct(64, 80, 1), ConvNormAct(80, 192, 3, 1, 0)],
            [
                nn.MaxPool2D(3, 2),
                Branches(
                    chain(192, (96, 1)),
                    chain(192, (48, 1), (64, 5)),
                    chain(192, (64, 1), (96, 3), (96, 3)),
                    pool_chain("avg", 192, 64),
                    channels=320,
                ),
                *[_block35() for _ in range(10)],
            ],
            [
                Branches(
                    ConvNormAct(320, 384, 3, 2, 0),
                    chain(320, (256, 1), (256, 3), (384, 3, 2, 0)),
                    nn.MaxPool2D(3, 2),
                ),
                *[_block17() for _ in range(20)],
            ],
            [
                Branches(
                    chain(1088, (256, 1), (384, 3, 2, 0)),
                    chain(1088, (256, 1), (288, 3, 2, 0)),
                    chain(1088, (256, 1), (288, 3), (320, 3, 2, 0)),
                    nn.MaxPool2D(3, 2),
                ),
                *[_block8(0.2) for _ in range(9)],
                _block8(1.0, activated=False),
                ConvNormAct(2080, 1536, 1),
            ],
        ]
        super().__init__(stages, linear_classifier(1536, class_num, dropout))


def _block35() -> InceptionResidual:
    branches = [chain(320, (32, 1)), chain(320, (32, 1), (32, 3)), chain(320, (32, 1), (48, 3), (64, 3))]
    return InceptionResidual(320, [32, 32, 64], branches, 0.17)


def _block17() -> InceptionResidual:
    branches = [chain(1088, (192, 1)), chain(1088, (128, 1), (160, (1, 7)), (192, (7, 1)))]
    return InceptionResidual(1088, [192, 192], branches, 0.1)


def _block8(scale: float, activated: bool = True) -> InceptionResidual:
    branches = [chain(2080, (192, 1)), chain(2080, (192, 1), (224, (1, 3)), (256, (3, 1)))]
    return InceptionResidual(2080, [192, 256], branches, scale, activated)
