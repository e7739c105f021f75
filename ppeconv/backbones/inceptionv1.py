"""Inception V1, known as GoogLeNet.

Paper: Going Deeper with Convolutions, CVPR 2015, arXiv 1409.4842.
"""

from __future__ import annotations

from typing import Literal

from paddle import nn

from ppeconv.backbones.branches import Branches
from ppeconv.backbones.layers import ConvNormAct, Staged, linear_classifier
from ppeconv.domains import Channels, Classes, ShareOrNone
from ppeconv.registry import BACKBONES

_MODULES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""Of each stage the modules: 1x1, before 3x3, 3x3, before 5x5, 5x5, behind the pooling."""


@BACKBONES.register(aliases=("GoogLeNet",))
class InceptionV1(Staged):
    """Inception V1 (GoogLeNet) without auxiliary classifiers: [N, in_channels, H, W] -> [N, class_num].

    Args:
        class_num: number of classes.
        large_kernel: side of the largest kernel: 5 as in the paper, or 3 as in torchvision.
        batch_norm: a batch norm behind every convolution; without it, as in the paper, convolutions have a bias.
        stem: "imagenet" is the paper's; "cifar" one 3x3 convolution of 192 channels, without pooling.
        in_channels: channels of the image.
        dropout: before the classifier.

    Departure from the paper: no local response normalisation.
    """

    init = "xavier_biased"

    def __init__(
        self,
        *,
        class_num: Classes = 1000,
        large_kernel: Literal[5, 3] = 5,
        batch_norm: bool = True,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        in_channels: Channels = 3,
        dropout: ShareOrNone = 0.4,
    ):
        def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
            if batch_norm:
                return ConvNormAct(inputs, outputs, kernel, stride)
            return nn.Sequential(nn.Conv2D(inputs, outputs, kernel, stride, kernel // 2), nn.ReLU())

        def module(inputs: int, widths: tuple[int, ...]) -> Branches:
            n1, r3, n3, r5, n5, pooled = widths
            return Branches(
                conv(inputs, n1, 1),
                nn.Sequential(conv(inputs, r3, 1), conv(r3, n3, 3)),
                nn.Sequential(conv(inputs, r5, 1), conv(r5, n5, large_kernel)),
                nn.Sequential(nn.MaxPool2D(3, 1, 1), conv(inputs, pooled, 1)),
                channels=n1 + n3 + n5 + pooled,
            )

        stages: list[list[nn.Layer]] = [
            [conv(in_channels, 64, 7, 2), _pool(), conv(64, 64, 1), conv(64, 192, 3)]
            if stem == "imagenet"
            else [conv(in_channels, 192, 3)]
        ]
        channels = 192
        for index, modules in enumerate(_MODULES):
            layers = [] if index == 0 and stem == "cifar" else [_pool()]
            for widths in modules:
                layers.append(module(channels, widths))
                channels = widths[0] + widths[2] + widths[4] + widths[5]
            stages.append(layers)
        super().__init__(stages, linear_classifier(channels, class_num, dropout))


def _pool() -> nn.MaxPool2D:
    return nn.MaxPool2D(3, 2, ceil_mode=True)
