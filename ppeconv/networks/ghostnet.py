"""GhostNet, of Ghost modules.

Paper: GhostNet: More Features from Cheap Operations, CVPR 2020, arXiv 1911.11907.
"""

from __future__ import annotations

from typing import Literal

from paddle import Tensor, nn

from ppeconv.backbones.layers import ConvNormAct, Staged, linear_classifier
from ppeconv.backbones.width import make_divisible
from ppeconv.domains import Channels, Classes, Multiplier, ShareOrNone
from ppeconv.operators.ghostconv import GhostConv
from ppeconv.recalibration.se import SE
from ppeconv.registry import BACKBONES

_BLOCKS = (
    ((3, 16, 16, False, 1),),
    ((3, 48, 24, False, 2), (3, 72, 24, False, 1)),
    ((5, 72, 40, True, 2), (5, 120, 40, True, 1)),
    (
        (3, 240, 80, False, 2),
        (3, 200, 80, False, 1),
        (3, 184, 80, False, 1),
        (3, 184, 80, False, 1),
        (3, 480, 112, True, 1),
        (3, 672, 112, True, 1),
    ),
    (
        (5, 672, 160, True, 2),
        (5, 960, 160, False, 1),
        (5, 960, 160, True, 1),
        (5, 960, 160, False, 1),
        (5, 960, 160, True, 1),
    ),
)
"""Of each stage the blocks: kernel, hidden and output channels, squeeze-and-excitation, stride."""


class GhostBottleneck(nn.Layer):
    """Ghost module to `hidden` channels, depthwise where strided, SE, linear Ghost module, around a shortcut."""

    def __init__(self, inputs: int, hidden: int, outputs: int, kernel: int, stride: int, se: bool):
        super().__init__()
        self.path = nn.Sequential(
            GhostConv(inputs, hidden, 1, bias_attr=False, inner="bn_relu"),
            *([ConvNormAct(hidden, hidden, kernel, stride, groups=hidden, act=None)] if stride > 1 else []),
            *([SE(hidden, hidden=make_divisible(hidden / 4, 4), gate="hard_sigmoid")] if se else []),
            GhostConv(hidden, outputs, 1, bias_attr=False, inner="bn"),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(
                ConvNormAct(inputs, inputs, kernel, stride, groups=inputs, act=None),
                ConvNormAct(inputs, outputs, 1, act=None),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.path(x) + self.shortcut(x)


@BACKBONES.register
class GhostNet(Staged):
    """GhostNet: [N, in_channels, H, W] -> [N, class_num].

    Args:
        class_num: number of classes.
        width: channel multiplier; 0.5, 1.0 and 1.3 in the paper.
        stem: "imagenet" has stride 2, "cifar" stride 1.
        in_channels: channels of the image.
        dropout: before the classifier.
    """

    init = "pytorch"

    def __init__(
        self,
        *,
        class_num: Classes = 1000,
        width: Multiplier = 1.0,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        in_channels: Channels = 3,
        dropout: ShareOrNone = 0.2,
    ):
        def channels(base: int) -> int:
            return make_divisible(base * width, 4)

        inputs = channels(16)
        stages: list[list[nn.Layer]] = []
        for rows in _BLOCKS:
            blocks: list[nn.Layer] = []
            for kernel, hidden, outputs, se, stride in rows:
                blocks.append(GhostBottleneck(inputs, channels(hidden), channels(outputs), kernel, stride, se))
                inputs = channels(outputs)
            stages.append(blocks)
        stages[0].insert(0, ConvNormAct(in_channels, channels(16), 3, 2 if stem == "imagenet" else 1))
        last = channels(960)
        stages[-1].append(ConvNormAct(inputs, last, 1))
        expand = [nn.Linear(last, 1280), nn.ReLU()]
        super().__init__(stages, nn.Sequential(*expand, *linear_classifier(1280, class_num, dropout)))
