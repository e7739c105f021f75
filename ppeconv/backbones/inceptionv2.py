"""Inception V2, known as BN-Inception.

Paper: Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift, arXiv 1502.03167.
"""

from __future__ import annotations

from typing import Literal

from paddle import nn

from ppeconv.backbones.branches import Branches, chain, pool_chain
from ppeconv.backbones.layers import ConvNormAct, Staged, linear_classifier
from ppeconv.domains import Channels, Classes, ShareOrNone
from ppeconv.registry import BACKBONES

_MODULES = (
    ((64, 64, 64, 64, 96, "avg", 32), (64, 64, 96, 64, 96, "avg", 64)),
    (
        (0, 128, 160, 64, 96, "max", 0),
        (224, 64, 96, 96, 128, "avg", 128),
        (192, 96, 128, 96, 128, "avg", 128),
        (160, 128, 160, 128, 160, "avg", 96),
        (96, 128, 192, 160, 192, "avg", 96),
    ),
    (
        (0, 128, 192, 192, 256, "max", 0),
        (352, 192, 320, 160, 224, "avg", 128),
        (352, 192, 320, 192, 224, "max", 128),
    ),
)
"""Of each stage the modules: 1x1, before 3x3, 3x3, before the two 3x3, of the two 3x3, pooling, behind it."""


@BACKBONES.register(aliases=("BNInception",))
class InceptionV2(Staged):
    """Inception V2 (BN-Inception), the 5x5 as two 3x3: [N, in_channels, H, W] -> [N, class_num].

    Args:
        class_num: number of classes.
        stem: "imagenet" is the paper's; "cifar" one 3x3 convolution of 192 channels, without pooling.
        in_channels: channels of the image.
        dropout: before the classifier.
    """

    init = "he_truncated"

    def __init__(
        self,
        *,
        class_num: Classes = 1000,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        in_channels: Channels = 3,
        dropout: ShareOrNone = 0.2,
    ):
        if stem == "imagenet":
            first = [ConvNormAct(in_channels, 64, 7, 2), _pool(), ConvNormAct(64, 64, 1), ConvNormAct(64, 192, 3)]
        else:
            first = [ConvNormAct(in_channels, 192, 3)]
        stages: list[list[nn.Layer]] = [first]
        channels = 192
        for index, modules in enumerate(_MODULES):
            layers: list[nn.Layer] = [_pool()] if index == 0 and stem == "imagenet" else []
            for widths in modules:
                layers.append(_module(channels, *widths))
                channels = _channels(channels, *widths)
            stages.append(layers)
        super().__init__(stages, linear_classifier(channels, class_num, dropout))


def _channels(inputs: int, n1: int, r3: int, n3: int, r33: int, n33: int, kind: str, pooled: int) -> int:
    return n1 + n3 + n33 + (pooled or inputs)


def _module(inputs: int, n1: int, r3: int, n3: int, r33: int, n33: int, kind: str, pooled: int) -> Branches:
    stride = 1 if n1 else 2
    return Branches(
        *([chain(inputs, (n1, 1))] if n1 else []),
        chain(inputs, (r3, 1), (n3, 3, stride)),
        chain(inputs, (r33, 1), (n33, 3), (n33, 3, stride)),
        pool_chain(kind, inputs, pooled) if pooled else nn.MaxPool2D(3, 2, 1),
        channels=_channels(inputs, n1, r3, n3, r33, n33, kind, pooled),
    )


def _pool() -> nn.MaxPool2D:
    return nn.MaxPool2D(3, 2, 1)
