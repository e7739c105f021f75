"""MixNet, of depthwise convolutions with several kernel sizes.

Paper: MixConv: Mixed Depthwise Convolutional Kernels, BMVC 2019, arXiv 1907.09595.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from paddle import Tensor, nn

from ppeconv.backbones.layers import ConvNormAct, Staged, linear_classifier
from ppeconv.backbones.width import make_divisible
from ppeconv.domains import Channels, Classes, ShareOrNone
from ppeconv.operators.mixconv import MixConv
from ppeconv.recalibration.se import SE
from ppeconv.registry import BACKBONES

Row = tuple[tuple[int, ...], int, int, int, int, int, float, int]
"""Kernels, groups of the expansion and of the projection, stride, expansion, outputs, SE share, repeats."""

K3, K5, K7, K9, K11 = (tuple(range(3, largest + 1, 2)) for largest in (3, 5, 7, 9, 11))

_SMALL: tuple[Row, ...] = (
    (K3, 2, 2, 2, 6, 24, 0, 1),
    (K3, 2, 2, 1, 3, 24, 0, 1),
    (K7, 1, 1, 2, 6, 40, 0.5, 1),
    (K5, 2, 2, 1, 6, 40, 0.5, 3),
    (K7, 1, 2, 2, 6, 80, 0.25, 1),
    (K5, 1, 2, 1, 6, 80, 0.25, 2),
    (K7, 2, 2, 1, 6, 120, 0.5, 1),
    (K9, 2, 2, 1, 3, 120, 0.5, 2),
    (K11, 1, 1, 2, 6, 200, 0.5, 1),
    (K9, 1, 2, 1, 6, 200, 0.5, 2),
)
_MEDIUM: tuple[Row, ...] = (
    (K7, 2, 2, 2, 6, 32, 0, 1),
    (K3, 2, 2, 1, 3, 32, 0, 1),
    (K9, 1, 1, 2, 6, 40, 0.5, 1),
    (K5, 2, 2, 1, 6, 40, 0.5, 3),
    (K7, 1, 1, 2, 6, 80, 0.25, 1),
    (K9, 2, 2, 1, 6, 80, 0.25, 3),
    (K3, 1, 1, 1, 6, 120, 0.5, 1),
    (K9, 2, 2, 1, 3, 120, 0.5, 3),
    (K9, 1, 1, 2, 6, 200, 0.5, 1),
    (K9, 1, 2, 1, 6, 200, 0.5, 3),
)


class MixBlock(nn.Layer):
    """1x1 expansion, mixed depthwise, SE, linear 1x1; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, row: Row, stride: int, act: type[nn.Layer]):
        super().__init__()
        kernels, expand_groups, project_groups, _, expansion, _, share, _ = row
        hidden = inputs * expansion
        mixed = MixConv(hidden, hidden, 3, stride, 1, groups=hidden, bias_attr=False, kernel_sizes=list(kernels))
        activation = "swish" if act is nn.Swish else "relu"
        self.path = nn.Sequential(
            ConvNormAct(inputs, hidden, 1, groups=expand_groups, act=act),
            nn.Sequential(mixed, nn.BatchNorm2D(hidden), act()),
            *([SE(hidden, hidden=max(1, int(inputs * share)), activation=activation)] if share else []),
            ConvNormAct(hidden, outputs, 1, groups=project_groups, act=None),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x) if self.residual else self.path(x)


class _First(nn.Layer):
    """Depthwise 3x3 and linear 1x1 of as many channels, added to the input."""

    def __init__(self, channels: int):
        super().__init__()
        self.path = nn.Sequential(
            ConvNormAct(channels, channels, 3, groups=channels), ConvNormAct(channels, channels, 1, act=None)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x)


class MixNet(Staged):
    """[N, in_channels, H, W] -> [N, class_num].

    Args:
        class_num: number of classes.
        stem: "imagenet" has stride 2, "cifar" stride 1.
        in_channels: channels of the image.
        dropout: before the classifier.

    Block tables: the paper's figure 5 in the encoding of timm's efficientnet.py.
    """

    init = "he_fan_out_of_group"
    rows: ClassVar[tuple[Row, ...]]
    first: ClassVar[int]
    multiplier: ClassVar[float] = 1.0

    def __init__(
        self,
        *,
        class_num: Classes = 1000,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        in_channels: Channels = 3,
        dropout: ShareOrNone = 0.2,
    ):
        inputs = make_divisible(self.first * self.multiplier, 8)
        stages: list[list[nn.Layer]] = [
            [ConvNormAct(in_channels, inputs, 3, 2 if stem == "imagenet" else 1), _First(inputs)]
        ]
        for row in self.rows:
            *_, stride, _, base, share, repeats = row
            outputs = make_divisible(base * self.multiplier, 8)
            if stride == 2:
                stages.append([])
            for index in range(repeats):
                act = nn.Swish if share else nn.ReLU
                stages[-1].append(MixBlock(inputs, outputs, row, stride if index == 0 else 1, act))
                inputs = outputs
        stages[-1].append(ConvNormAct(inputs, 1536, 1))
        super().__init__(stages, linear_classifier(1536, class_num, dropout))


@BACKBONES.register
class MixNetS(MixNet):
    """MixNet-S."""

    rows, first = _SMALL, 16


@BACKBONES.register
class MixNetM(MixNet):
    """MixNet-M."""

    rows, first = _MEDIUM, 24


@BACKBONES.register
class MixNetL(MixNet):
    """MixNet-L, MixNet-M with 1.3 times the channels."""

    rows, first, multiplier = _MEDIUM, 24, 1.3
