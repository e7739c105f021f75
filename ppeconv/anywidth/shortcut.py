"""The shortcut without parameters at any width."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import Tensor, nn

from ppeconv.anywidth.channels import Layout
from ppeconv.anywidth.layers import AnyWidthLayer


class PlacedShortcut(nn.Layer):
    """Every `stride`-th pixel; output channel o is input channel `source[o]`, or zero where that is -1."""

    def __init__(self, source: np.ndarray, stride: int):
        super().__init__()
        self.stride = stride
        self.register_buffer("source", paddle.to_tensor(source), persistable=False)

    def forward(self, x: Tensor) -> Tensor:
        return place(x[:, :, :: self.stride, :: self.stride], self.source)


class AnyWidthShortcut(AnyWidthLayer):
    """Shortcut A, [N, active inputs, H, W] -> [N, active outputs, H/stride, W/stride], its zeros not on both sides.

    With `spread`, as AWN needs it, an input goes to the first free output that is active only when the input is: for
    twice as many outputs these are 0, 3, 5, 7, ... Otherwise the zeros are at the end. Zeros at the end are no good for
    AWN: channel 10 of 32 would get the shortcut's channel 10 of 16 at width 1 and not at width 0.5.
    """

    def __init__(self, stride: int, inputs: Layout, outputs: Layout, spread: bool):
        super().__init__()
        self.stride = stride
        self.source = _spread(inputs, outputs) if spread else _first(len(inputs), len(outputs))
        self.lay_out(inputs, outputs)

    def set_width(self, width: float) -> None:
        super().set_width(width)
        order = np.append(np.cumsum(self.inputs.is_active(width)) - 1, -1)
        active = np.append(self.inputs.is_active(width), False)
        source = self.source[self.outputs.is_active(width)]
        self.present = np.where(active[source], order[source], -1)

    def forward(self, x: Tensor) -> Tensor:
        return place(x[:, :, :: self.stride, :: self.stride], paddle.to_tensor(self.present))

    def plain(self) -> PlacedShortcut:
        return PlacedShortcut(self.present, self.stride)


def place(x: Tensor, source: Tensor) -> Tensor:
    """Output channel o is channel `source[o]` of x, or zero where that is -1."""
    zero = paddle.zeros_like(x[:, :1])
    return paddle.index_select(paddle.concat([zero, x], 1), source + 1, 1)


def _first(inputs: int, outputs: int) -> np.ndarray:
    channels = np.arange(outputs)
    return np.where(channels < inputs, channels, -1)


def _spread(inputs: Layout, outputs: Layout) -> np.ndarray:
    source, channel = np.full(len(outputs), -1), 0
    for output, (group, index) in enumerate(zip(outputs.group, outputs.index, strict=True)):
        opening = max(outputs.groups[group].opening(index), 2.0**-60)
        if channel < len(inputs) and inputs.is_active(opening)[channel]:
            source[output], channel = channel, channel + 1
    return source
