"""Inception V4.

Paper: Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning, AAAI 2017, arXiv 1602.07261.
"""

from __future__ import annotations

from paddle import nn

from ppeconv.backbones.branches import Branches, chain, pool_chain
from ppeconv.backbones.layers import ConvNormAct, Staged, linear_classifier
from ppeconv.domains import Channels, Classes, ShareOrNone
from ppeconv.registry import BACKBONES


@BACKBONES.register
class InceptionV4(Staged):
    """Inception V4: [N, in_channels, H, W] -> [N, class_num], H and W at least 75, 299 in the paper.

    Args:
        class_num: number of classes.
        in_channels: channels of the image.
        dropout: before the classifier.
    """

    image_shape = (3, 299, 299)
    init = "he_truncated_glorot_head"

    def __init__(self, *, class_num: Classes = 1000, in_channels: Channels = 3, dropout: ShareOrNone = 0.2):
        stages = [
            [
                ConvNormAct(in_channels, 32, 3, 2, 0),
                ConvNormAct(32, 32, 3, 1, 0),
                ConvNormAct(32, 64, 3),
            ],
            [
                Branches(nn.MaxPool2D(3, 2), ConvNormAct(64, 96, 3, 2, 0)),
                Branches(
                    chain(160, (64, 1), (96, 3, 1, 0)),
                    chain(160, (64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3, 1, 0)),
                ),
            ],
            [
                Branches(ConvNormAct(192, 192, 3, 2, 0), nn.MaxPool2D(3, 2)),
                *[_module_a() for _ in range(4)],
            ],
            [
                Branches(
                    ConvNormAct(384, 384, 3, 2, 0),
                    chain(384, (192, 1), (224, 3), (256, 3, 2, 0)),
                    nn.MaxPool2D(3, 2),
                ),
                *[_module_b() for _ in range(7)],
            ],
            [
                Branches(
                    chain(1024, (192, 1), (192, 3, 2, 0)),
                    chain(1024, (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2, 0)),
                    nn.MaxPool2D(3, 2),
                ),
                *[_module_c() for _ in range(3)],
            ],
        ]
        super().__init__(stages, linear_classifier(1536, class_num, dropout))


def _module_a() -> Branches:
    return Branches(
        chain(384, (96, 1)),
        chain(384, (64, 1), (96, 3)),
        chain(384, (64, 1), (96, 3), (96, 3)),
        pool_chain("avg", 384, 96),
        channels=384,
    )


def _module_b() -> Branches:
    return Branches(
        chain(1024, (384, 1)),
        chain(1024, (192, 1), (224, (1, 7)), (256, (7, 1))),
        chain(1024, (192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
        pool_chain("avg", 1024, 128),
        channels=1024,
    )


def _module_c() -> Branches:
    return Branches(
        chain(1536, (256, 1)),
        nn.Sequential(chain(1536, (384, 1)), _cross(384)),
        nn.Sequential(chain(1536, (384, 1), (448, (3, 1)), (512, (1, 3))), _cross(512)),
        pool_chain("avg", 1536, 256),
        channels=1536,
    )


def _cross(inputs: int) -> Branches:
    return Branches(ConvNormAct(inputs, 256, (1, 3)), ConvNormAct(inputs, 256, (3, 1)))
