"""EfficientNet.

Paper: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv 1905.11946.
"""

from __future__ import annotations

from math import ceil
from typing import Literal

import paddle
from paddle import Tensor, nn

from ppeconv.backbones.layers import ConvNormAct, Staged, linear_classifier
from ppeconv.backbones.width import make_divisible
from ppeconv.domains import Channels, Classes, Multiplier, ShareOrNone
from ppeconv.recalibration.se import SE
from ppeconv.registry import BACKBONES

_BLOCKS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""Expansion, kernel, stride of the first, output channels, repeats."""


class DropPath(nn.Layer):
    """In training, the whole of a sample's [C, H, W] is dropped with probability `rate`, the others scaled up."""

    def __init__(self, rate: float):
        super().__init__()
        self.keep = 1 - rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.keep == 1:
            return x
        kept = (paddle.rand([x.shape[0], 1, 1, 1]) < self.keep).astype(x.dtype)
        return x * kept / self.keep


class MBConv(nn.Layer):
    """1x1 expansion, depthwise, squeeze-and-excitation, linear 1x1; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, drop: float):
        super().__init__()
        hidden = inputs * expansion
        self.path = nn.Sequential(
            *([ConvNormAct(inputs, hidden, 1, act=nn.Swish)] if expansion > 1 else []),
            ConvNormAct(hidden, hidden, kernel, stride, groups=hidden, act=nn.Swish),
            SE(hidden, hidden=max(1, inputs // 4), activation="swish"),
            ConvNormAct(hidden, outputs, 1, act=None),
        )
        self.residual = stride == 1 and inputs == outputs
        self.drop = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.path(x)) if self.residual else self.path(x)


@BACKBONES.register
class EfficientNetB0(Staged):
    """EfficientNet-B0, and with width and depth the larger ones: [N, in_channels, H, W] -> [N, class_num].

    Args:
        class_num: number of classes.
        width: channel multiplier; 1.0, 1.0, 1.1, 1.2, 1.4, 1.6, 1.8, 2.0 for B0 to B7.
        depth: multiplier of the repeats; 1.0, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1 for B0 to B7.
        dropout: before the classifier; 0.2 for B0 to 0.5 for B7.
        drop_path: probability at which the last block's path is dropped in training; it falls to 0 for the first.
        stem: "imagenet" has stride 2, "cifar" stride 1.
        in_channels: channels of the image.
    """

    init = "he_fan_out_of_group"

    def __init__(
        self,
        *,
        class_num: Classes = 1000,
        width: Multiplier = 1.0,
        depth: Multiplier = 1.0,
        dropout: ShareOrNone = 0.2,
        drop_path: ShareOrNone = 0.2,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        in_channels: Channels = 3,
    ):
        rows = [(*row[:-1], ceil(row[-1] * depth)) for row in _BLOCKS]
        total = sum(row[-1] for row in rows)
        inputs = make_divisible(32 * width, 8)
        stages: list[list[nn.Layer]] = [
            [ConvNormAct(in_channels, inputs, 3, 2 if stem == "imagenet" else 1, act=nn.Swish)]
        ]
        built = 0
        for expansion, kernel, stride, base, repeats in rows:
            outputs = make_divisible(base * width, 8)
            if stride == 2:
                stages.append([])
            for index in range(repeats):
                step = stride if index == 0 else 1
                stages[-1].append(MBConv(inputs, outputs, expansion, kernel, step, drop_path * built / total))
                inputs, built = outputs, built + 1
        last = make_divisible(1280 * width, 8)
        stages[-1].append(ConvNormAct(inputs, last, 1, act=nn.Swish))
        super().__init__(stages, linear_classifier(last, class_num, dropout))
