"""MobileFaceNet.

Paper: MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices, arXiv 1804.07573.
"""

from __future__ import annotations

from paddle import Tensor, nn

from ppeconv.backbones.layers import ConvNormAct, Trunk
from ppeconv.domains import Channels, Classes, Pixels
from ppeconv.errors import UserError
from ppeconv.recalibration.base import RecalibrationSlot
from ppeconv.recalibration.gdc import GDC
from ppeconv.registry import BACKBONES

_BLOCKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""Expansion, output channels, repeats, stride of the first."""


class FaceBottleneck(nn.Layer):
    """1x1 expansion, depthwise 3x3, linear 1x1 with PReLU; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.path = nn.Sequential(
            _conv(inputs, hidden, 1),
            _conv(hidden, hidden, 3, stride, hidden),
            RecalibrationSlot(hidden),
            ConvNormAct(hidden, outputs, 1, act=None),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x) if self.residual else self.path(x)


@BACKBONES.register
class MobileFaceNet(Trunk):
    """MobileFaceNet: [N, in_channels, image_size, image_size] -> [N, embedding], or [N, class_num].

    Args:
        class_num: number of classes of a linear layer behind the embedding; not given, the embedding is the output.
        embedding: numbers that describe a face.
        image_size: side of the image, a multiple of 16; the global depthwise convolution has one kernel size.
        in_channels: channels of the image.
    """

    image_shape = (3, 112, 112)
    init = "pytorch"
    head = "classifier"

    def __init__(
        self,
        *,
        class_num: Classes | None = None,
        embedding: Channels = 128,
        image_size: Pixels = 112,
        in_channels: Channels = 3,
    ):
        if image_size < 16 or image_size % 16:
            raise UserError(f"MobileFaceNet needs an image_size that is a multiple of 16; got {image_size}")
        inputs = 64
        stages: list[list[nn.Layer]] = [[_conv(in_channels, 64, 3, 2), _conv(64, 64, 3, groups=64)]]
        for expansion, outputs, repeats, stride in _BLOCKS:
            if stride == 2:
                stages.append([])
            for index in range(repeats):
                stages[-1].append(FaceBottleneck(inputs, outputs, stride if index == 0 else 1, expansion))
                inputs = outputs
        stages[-1].append(_conv(inputs, 512, 1))
        super().__init__(stages)
        self.gdc = GDC(512, size=[image_size // 16] * 2)
        self.embed = nn.Sequential(*ConvNormAct(512, embedding, 1, act=None), nn.Flatten())
        self.classifier = nn.Identity() if class_num is None else nn.Linear(embedding, class_num)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.embed(self.gdc(self.features(x))))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return ConvNormAct(inputs, outputs, kernel, stride, groups=groups, act=lambda: nn.PReLU(outputs))
