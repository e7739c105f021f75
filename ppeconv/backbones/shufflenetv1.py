"""ShuffleNet V1.

Paper: ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices, CVPR 2018, arXiv 1707.01083.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.backbones.layers import ConvNormAct, Staged
from ppeconv.backbones.width import scaled
from ppeconv.domains import Channels, Classes, Multiplier
from ppeconv.errors import UserError
from ppeconv.layers.shuffle import channel_shuffle
from ppeconv.recalibration.base import RecalibrationSlot
from ppeconv.registry import BACKBONES

_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
"""Channels of the first stage for each number of groups."""


class ShuffleBlockV1(nn.Layer):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1, beside a shortcut.

    Stride 1: ReLU(x + branch). Stride 2: concat(average pool, ReLU(branch)), the branch of outputs - inputs channels;
    as in the published code, the pool's means include the zeros around the map.

    Args:
        inputs, outputs: channels; equal at stride 1.
        stride: 1 or 2.
        groups: of the 1x1 convolutions.
        first_groups: of the first one.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int, first_groups: int):
        super().__init__()
        inner, added = outputs // 4, outputs - inputs if stride == 2 else outputs
        self.strided, self.groups = stride == 2, groups
        self.reduce = ConvNormAct(inputs, inner, 1, groups=first_groups)
        self.expand = nn.Sequential(
            ConvNormAct(inner, inner, 3, stride, groups=inner, act=None),
            ConvNormAct(inner, added, 1, groups=groups, act=None),
        )
        self.recalibration = RecalibrationSlot(added)
        self.pool = nn.AvgPool2D(3, 2, 1, exclusive=False)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.recalibration(self.expand(channel_shuffle(self.reduce(x), self.groups)))
        if self.strided:
            return paddle.concat([self.pool(x), F.relu(branch)], axis=1)
        return F.relu(x + branch)


@BACKBONES.register
class ShuffleNetV1(Staged):
    """ShuffleNet V1: [N, in_channels, H, W] -> [N, class_num].

    Args:
        class_num: number of classes.
        width: channel multiplier of the three stages.
        groups: g of the 1x1 convolutions; it sets the channels of the stages.
        stem_channels: of the first convolution.
        stem: "imagenet" has stride 2 and a max pool, "cifar" neither.
        in_channels: channels of the image.

    The shuffle is before the depthwise convolution as in the paper, in the published code behind it and the other way
    round: with 1, 2 and 3 groups the same up to a permutation of the inner channels, with 4 and 8 another function. As
    there, the classifier has no bias.
    """

    init = "one_over_channels"

    def __init__(
        self,
        *,
        class_num: Classes = 1000,
        width: Multiplier = 1.0,
        groups: Literal[1, 2, 3, 4, 8] = 3,
        stem_channels: Channels = 24,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        in_channels: Channels = 3,
    ):
        widths = [scaled(_CHANNELS[groups] * 2**stage, width) for stage in range(3)]
        added = [outputs - inputs for inputs, outputs in pairwise([stem_channels, *widths])]
        grouped = [*widths, *(outputs // 4 for outputs in widths), *added]
        if min(grouped) < 1 or any(channels % groups for channels in grouped):
            raise UserError(
                f"ShuffleNetV1 with groups={groups} needs stages whose channels, a quarter of them and what they add "
                f"are multiples of it; got {widths} from width={width:g} behind stem_channels={stem_channels}"
            )
        small = stem == "cifar"
        first: list[nn.Layer] = [ConvNormAct(in_channels, stem_channels, 3, 1 if small else 2)]
        first += [] if small else [nn.MaxPool2D(3, 2, 1)]
        stages, inputs = [first], stem_channels
        for stage, (depth, outputs) in enumerate(zip((4, 8, 4), widths, strict=True)):
            blocks = [ShuffleBlockV1(inputs, outputs, 2, groups, groups if stage else 1)]
            blocks += [ShuffleBlockV1(outputs, outputs, 1, groups, groups) for _ in range(depth - 1)]
            stages.append(blocks)
            inputs = outputs
        super().__init__(stages, nn.Linear(inputs, class_num, bias_attr=False))
