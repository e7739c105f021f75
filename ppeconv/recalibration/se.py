"""SE: a weight for each channel, from all channels' means."""

from __future__ import annotations

from typing import Literal

import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.domains import Channels
from ppeconv.operators.cost import Cost
from ppeconv.recalibration.base import Recalibration
from ppeconv.registry import RECALIBRATIONS
from ppeconv.schema.declaration import OwnArguments, Paper

_ACTIVATIONS = {"relu": F.relu, "swish": F.silu}
_GATES = {"sigmoid": F.sigmoid, "hard_sigmoid": F.hardsigmoid}


@RECALIBRATIONS.register
class SE(Recalibration):
    """Squeeze-and-excitation: Y = X sigmoid(W2 ReLU(W1 GAP(X) + b1) + b2), for each sample and channel.

    With h hidden channels: parameters 2 C h (+ h + C with bias); MACs 2 C h.
    """

    papers = (Paper("Squeeze-and-Excitation Networks", "CVPR 2018", "1709.01507"),)

    class Arguments(OwnArguments):
        reduction: Channels = 16
        """r, how much narrower the hidden layer is: max(1, C // r) channels."""
        hidden: Channels | None = None
        """channels of the hidden layer, instead of C // r."""
        bias: bool = True
        """b1 and b2."""
        activation: Literal["relu", "swish"] = "relu"
        """after the hidden layer, "relu", or "swish" as in EfficientNet."""
        gate: Literal["sigmoid", "hard_sigmoid"] = "sigmoid"
        """"sigmoid", or "hard_sigmoid", relu6(x + 3) / 6, as in MobileNetV3 and GhostNet."""

    def build(self, channels: int, own: Arguments) -> None:
        narrow, bias = _hidden(channels, own), None if own.bias else False
        self.activation, self.gate = _ACTIVATIONS[own.activation], _GATES[own.gate]
        self.squeeze = nn.Conv2D(channels, narrow, 1, bias_attr=bias)
        self.excite = nn.Conv2D(narrow, channels, 1, bias_attr=bias)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.excite(self.activation(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))

    @classmethod
    def cost(cls, channels: int, height: int, width: int, own: Arguments) -> Cost:
        narrow = _hidden(channels, own)
        return Cost.conv(channels, narrow, (1, 1), (1, 1), bias=own.bias) + Cost.conv(
            narrow, channels, (1, 1), (1, 1), bias=own.bias
        )


def _hidden(channels: int, own: SE.Arguments) -> int:
    return own.hidden or max(1, channels // own.reduction)
