"""Branches beside one another, of which Inception networks are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
from paddle import Tensor, nn

from ppeconv.backbones.layers import ConvNormAct
from ppeconv.recalibration.base import RecalibrationSlot


class Branches(nn.Layer):
    """[N, C, H, W] -> what each branch makes of it, concatenated.

    Args:
        branches: layers from the same input to the same size.
        channels: of the output; when given, there is a place for a recalibration block behind the concatenation.
    """

    def __init__(self, *branches: nn.Layer, channels: int | None = None):
        super().__init__()
        self.branches = nn.LayerList(branches)
        self.recalibration = nn.Identity() if channels is None else RecalibrationSlot(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.recalibration(paddle.concat([branch(x) for branch in self.branches], axis=1))


def chain(inputs: int, *steps: Sequence[Any]) -> nn.Sequential:
    """Convolutions with batch norm and ReLU one after the other, each (outputs, kernel[, stride[, padding]])."""
    layers = []
    for outputs, *shape in steps:
        layers.append(ConvNormAct(inputs, outputs, *shape))
        inputs = outputs
    return nn.Sequential(*layers)


def pool_chain(kind: str, inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 pooling of stride 1, "max" or "avg", and a 1x1.

    Averages are over the pixels inside the image, as in the authors' code of Inception V2, V4 and Inception-ResNet V2.
    """
    pool = nn.MaxPool2D(3, 1, 1) if kind == "max" else nn.AvgPool2D(3, 1, 1, exclusive=True)
    return nn.Sequential(pool, *chain(inputs, (outputs, 1)))
