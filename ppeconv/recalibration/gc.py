"""GC: what attention finds in the whole map, added to every place."""

from __future__ import annotations

from typing import Literal

import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.domains import Multiplier
from ppeconv.operators.cost import Cost
from ppeconv.recalibration.base import Recalibration
from ppeconv.registry import RECALIBRATIONS
from ppeconv.schema.declaration import OwnArguments, Paper


@RECALIBRATIONS.register
class GC(Recalibration):
    """Global context: c = sum over pixels of softmax(Wk X) X, t = W2 ReLU(LN(W1 c)), Y = X + t.

    W2 begins at zero, so that with "add" the block begins as the identity.
    Parameters: C + 1 + C p + p + 2 p + p C + C; MACs: C H W + 2 C p (the attention's products are not counted).
    """

    papers = (
        Paper("GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", "ICCVW 2019", "1904.11492"),
    )

    class Arguments(OwnArguments):
        ratio: Multiplier = 1 / 16
        """channels of W1's output beside C: p = max(1, floor(ratio C))."""
        fusion: Literal["add", "scale"] = "add"
        """"add", or "scale": Y = X sigmoid(t)."""

    def build(self, channels: int, own: Arguments) -> None:
        narrow = _narrow(channels, own.ratio)
        self.fusion = own.fusion
        self.attend = nn.Conv2D(channels, 1, 1)
        zero = nn.initializer.Constant(0.0)
        self.transform = nn.Sequential(
            nn.Linear(channels, narrow),
            nn.LayerNorm(narrow),
            nn.ReLU(),
            nn.Linear(narrow, channels, weight_attr=zero, bias_attr=zero),
        )

    def forward(self, x: Tensor) -> Tensor:
        shares = F.softmax(self.attend(x).flatten(2), axis=2)
        context = (x.flatten(2) * shares).sum(axis=2)
        term = self.transform(context).unsqueeze([2, 3])
        return x + term if self.fusion == "add" else x * F.sigmoid(term)

    @classmethod
    def cost(cls, channels: int, height: int, width: int, own: Arguments) -> Cost:
        narrow = _narrow(channels, own.ratio)
        return (
            Cost.conv(channels, 1, (1, 1), (height, width), bias=True)
            + Cost.conv(channels, narrow, (1, 1), (1, 1), bias=True)
            + Cost.norm(narrow)
            + Cost.conv(narrow, channels, (1, 1), (1, 1), bias=True)
        )


def _narrow(channels: int, ratio: float) -> int:
    return max(1, int(channels * ratio))
