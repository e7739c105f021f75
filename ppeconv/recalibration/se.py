"""SE: a weight for each channel, from all channels' means.

Paper: Squeeze-and-Excitation Networks, CVPR 2018, arXiv 1709.01507.
"""

from __future__ import annotations

from typing import Literal

import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.domains import Channels
from ppeconv.operators.cost import Cost
from ppeconv.recalibration.base import Recalibration
from ppeconv.registry import RECALIBRATIONS

_ACTIVATIONS = {"relu": F.relu, "swish": F.silu}
_GATES = {"sigmoid": F.sigmoid, "hard_sigmoid": F.hardsigmoid}


@RECALIBRATIONS.register
class SE(Recalibration):
    """Squeeze-and-excitation: Y = X sigmoid(W2 ReLU(W1 GAP(X) + b1) + b2), for each sample and channel.

    Own arguments:
        reduction: r, how much narrower the hidden layer is: max(1, C // r) channels.
        hidden: channels of the hidden layer, instead of C // r.
        bias: b1 and b2.
        activation: after the hidden layer, "relu", or "swish" as in EfficientNet.
        gate: "sigmoid", or "hard_sigmoid", relu6(x + 3) / 6, as in MobileNetV3 and GhostNet.

    With h hidden channels: parameters 2 C h (+ h + C with bias); MACs 2 C h.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: Channels = 16,
        hidden: Channels | None = None,
        bias: bool = True,
        activation: Literal["relu", "swish"] = "relu",
        gate: Literal["sigmoid", "hard_sigmoid"] = "sigmoid",
    ):
        super().__init__()
        narrow = _hidden(channels, reduction, hidden)
        self.activation, self.gate = _ACTIVATIONS[activation], _GATES[gate]
        self.squeeze = nn.Conv2D(channels, narrow, 1, bias_attr=None if bias else False)
        self.excite = nn.Conv2D(narrow, channels, 1, bias_attr=None if bias else False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.excite(self.activation(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))

    @classmethod
    def cost(
        cls,
        channels: int,
        height: int,
        width: int,
        *,
        reduction: int,
        hidden: int | None,
        bias: bool,
        activation: str,
        gate: str,
    ) -> Cost:
        narrow = _hidden(channels, reduction, hidden)
        return Cost.conv(channels, narrow, (1, 1), (1, 1), bias=bias) + Cost.conv(
            narrow, channels, (1, 1), (1, 1), bias=bias
        )


def _hidden(channels: int, reduction: int, hidden: int | None) -> int:
    return hidden or max(1, channels // reduction)
