"""The shortcut without parameters: option A of arXiv 1512.03385, section 4.2."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn


class ShortcutA(nn.Layer):
    """[N, inputs, H, W] -> [N, outputs, H/stride, W/stride]: every `stride`-th pixel, zero channels on both sides."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride, self.inputs, self.outputs = stride, inputs, outputs
        self.front = (outputs - inputs) // 2
        self.back = outputs - inputs - self.front

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        # Not F.pad: padding channels with oneDNN corrupts memory in Paddle Inference 3.3.1.
        return paddle.concat([paddle.zeros_like(x[:, : self.front]), x, paddle.zeros_like(x[:, : self.back])], 1)
