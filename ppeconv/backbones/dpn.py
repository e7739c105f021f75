"""DPN: residual and dense paths in one block.

Paper: Dual Path Networks, NeurIPS 2017, arXiv 1707.01629.
"""

from __future__ import annotations

from typing import Literal

import paddle
from paddle import Tensor, nn

from ppeconv.backbones.layers import ConvNormAct, Staged, linear_classifier
from ppeconv.domains import Channels, Classes, ShareOrNone
from ppeconv.recalibration.base import RecalibrationSlot
from ppeconv.registry import BACKBONES


class DualPathBlock(nn.Layer):
    """[N, C, H, W] -> the first `residual` channels with a sum, the others with `dense` more behind them.

    Args:
        inputs: channels C.
        inner: channels of the grouped 3x3.
        residual: channels of the residual path.
        dense: channels that the dense path grows by.
        stride: of the 3x3.
        groups: of the 3x3.
        first: the first block of a stage, whose shortcut is a 1x1 that also begins the dense path with 2 `dense`.
    """

    def __init__(
        self, inputs: int, inner: int, residual: int, dense: int, stride: int, groups: int, first: bool = False
    ):
        super().__init__()
        self.residual = residual
        outputs = residual + dense
        self.shortcut = _preactivated(inputs, outputs + dense, 1, stride) if first else nn.Identity()
        self.path = nn.Sequential(
            _preactivated(inputs, inner, 1),
            _preactivated(inner, inner, 3, stride, groups),
            _preactivated(inner, outputs, 1),
        )
        self.recalibration = RecalibrationSlot(outputs)

    def forward(self, x: Tensor) -> Tensor:
        kept, new = self.shortcut(x), self.recalibration(self.path(x))
        summed = kept[:, : self.residual] + new[:, : self.residual]
        return paddle.concat([summed, kept[:, self.residual :], new[:, self.residual :]], axis=1)


@BACKBONES.register
class DPN68(Staged):
    """DPN-68: [N, in_channels, H, W] -> [N, class_num].

    Args:
        class_num: number of classes.
        stem: "imagenet" has stride 2 and a max pool, "cifar" neither.
        in_channels: channels of the image.
        dropout: before the classifier.
    """

    init = "he_fan_in"

    def __init__(
        self,
        *,
        class_num: Classes = 1000,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        in_channels: Channels = 3,
        dropout: ShareOrNone = 0.0,
    ):
        small = stem == "cifar"
        first: list[nn.Layer] = [ConvNormAct(in_channels, 10, 3, 1 if small else 2)]
        first += [] if small else [nn.MaxPool2D(3, 2, 1)]
        stages, inputs = [], 10
        for stage, (depth, dense) in enumerate(zip((3, 4, 12, 3), (16, 32, 32, 64), strict=True)):
            inner, residual = 128 * 2**stage, 64 * 2**stage
            layers = []
            for index in range(depth):
                stride = 2 if stage and index == 0 else 1
                layers.append(DualPathBlock(inputs, inner, residual, dense, stride, 32, first=index == 0))
                inputs = residual + 3 * dense if index == 0 else inputs + dense
            stages.append(layers)
        stages[0] = [*first, *stages[0]]
        stages[-1] += [nn.BatchNorm2D(inputs), nn.ReLU()]
        super().__init__(stages, linear_classifier(inputs, class_num, dropout))


def _preactivated(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Batch norm, ReLU, convolution."""
    return nn.Sequential(
        nn.BatchNorm2D(inputs),
        nn.ReLU(),
        nn.Conv2D(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias_attr=False),
    )
