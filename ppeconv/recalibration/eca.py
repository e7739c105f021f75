"""ECA: a weight for each channel, from its mean and those of the channels beside it."""

from __future__ import annotations

from math import log2

import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.domains import OddKernelSide
from ppeconv.operators.cost import Cost
from ppeconv.recalibration.base import Recalibration
from ppeconv.registry import RECALIBRATIONS
from ppeconv.schema.declaration import OwnArguments, Paper


@RECALIBRATIONS.register
class ECA(Recalibration):
    """Efficient channel attention: Y = X sigmoid(conv_k(GAP(X))), one filter of k taps along the channels.

    Parameters: k; MACs: k C.

    Sources differ: the published ResNet-50 has k = 3, 5, 5, 7 in its stages, the formula gives 5, 5, 5, 7.
    """

    papers = (
        Paper("ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", "CVPR 2020", "1910.03151"),
    )

    class Arguments(OwnArguments):
        kernel: OddKernelSide | None = None
        """k, odd. Not given: t = int(|(log2 C + 1) / 2|), made odd by adding 1 where it is even."""

    def build(self, channels: int, own: Arguments) -> None:
        taps = own.kernel or adapted_kernel(channels)
        self.conv = nn.Conv2D(1, 1, (taps, 1), padding=(taps // 2, 0), bias_attr=False)

    def forward(self, x: Tensor) -> Tensor:
        means = F.adaptive_avg_pool2d(x, 1).transpose([0, 2, 1, 3])
        return x * F.sigmoid(self.conv(means)).transpose([0, 2, 1, 3])

    @classmethod
    def cost(cls, channels: int, height: int, width: int, own: Arguments) -> Cost:
        return Cost.conv(1, 1, (own.kernel or adapted_kernel(channels), 1), (channels, 1))


def adapted_kernel(channels: int) -> int:
    """Taps for a number of channels."""
    taps = int(abs((log2(channels) + 1) / 2))
    return taps if taps % 2 else taps + 1
