"""ShuffleNet V2.

Paper: ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, ECCV 2018, arXiv 1807.11164.
"""

from __future__ import annotations

from typing import Literal

import paddle
from paddle import Tensor, nn

from ppeconv.backbones.layers import ConvNormAct, Staged
from ppeconv.domains import Channels, Classes
from ppeconv.layers.shuffle import channel_shuffle
from ppeconv.recalibration.base import RecalibrationSlot
from ppeconv.registry import BACKBONES

_CHANNELS = {0.5: (48, 1024), 1.0: (116, 1024), 1.5: (176, 1024), 2.0: (244, 2048)}
"""For each width the channels of the first stage and of the last 1x1."""


class ShuffleBlockV2(nn.Layer):
    """Stride 1: half of the channels passes, the other is convolved. Stride 2: two branches. Then a shuffle.

    Args:
        inputs, outputs: channels; equal at stride 1.
        stride: 1 or 2.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        half = outputs // 2
        self.strided = stride == 2
        if self.strided:
            self.left = nn.Sequential(
                ConvNormAct(inputs, inputs, 3, 2, groups=inputs, act=None), ConvNormAct(inputs, half, 1)
            )
        self.right = nn.Sequential(
            ConvNormAct(inputs if self.strided else half, half, 1),
            ConvNormAct(half, half, 3, stride, groups=half, act=None),
            ConvNormAct(half, half, 1),
        )
        self.recalibration = RecalibrationSlot(half)

    def forward(self, x: Tensor) -> Tensor:
        left, right = (self.left(x), x) if self.strided else x.chunk(2, axis=1)
        return channel_shuffle(paddle.concat([left, self.recalibration(self.right(right))], axis=1), 2)


@BACKBONES.register
class ShuffleNetV2(Staged):
    """ShuffleNet V2: [N, in_channels, H, W] -> [N, class_num].

    Args:
        class_num: number of classes.
        width: 0.5, 1.0, 1.5 or 2.0, the widths of the paper.
        stem: "imagenet" has stride 2 and a max pool, "cifar" neither.
        in_channels: channels of the image.

    Sources differ: the left branch of a strided block gives half of the outputs, as the paper and torchvision have it,
    in the authors' code as many channels as it gets. Width 2.0 has 244 channels; paddle.vision's network has 224.
    """

    init = "one_over_channels"

    def __init__(
        self,
        *,
        class_num: Classes = 1000,
        width: Literal[0.5, 1.0, 1.5, 2.0] = 1.0,  # type: ignore[valid-type]  # numbers that pydantic compares
        stem: Literal["imagenet", "cifar"] = "imagenet",
        in_channels: Channels = 3,
    ):
        small = stem == "cifar"
        base, last = _CHANNELS[width]
        first: list[nn.Layer] = [ConvNormAct(in_channels, 24, 3, 1 if small else 2)]
        first += [] if small else [nn.MaxPool2D(3, 2, 1)]
        stages, inputs = [first], 24
        for stage, depth in enumerate((4, 8, 4)):
            outputs = base * 2**stage
            stages.append(
                [ShuffleBlockV2(inputs, outputs, 2), *[ShuffleBlockV2(outputs, outputs, 1) for _ in range(depth - 1)]]
            )
            inputs = outputs
        stages[-1].append(ConvNormAct(inputs, last, 1))
        super().__init__(stages, nn.Linear(last, class_num))
