"""ShuffleUnitV2: one half of the channels passes, the other is convolved, and a shuffle mixes them."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import Tensor, nn

from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import centre_margin, crop_or_pad, host_conv, pointwise, shuffle, with_norm_act
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import Paper


@OPERATORS.register
class ShuffleUnitV2(ConvOperator):
    """ShuffleNet V2 unit: Y = shuffle(concat(left, right), 2).

        stride 1: left = the first l = min(C_in, C_out) // 2 channels of X, right = R(the others)
        a stride: left = Conv_1x1(BN(DWConv_kxk(X))) of l = C_out // 2 channels, right = R(X)
        R = Conv_1x1(BN(DWConv_kxk(ReLU(BN(Conv_1x1))))), r = C_out - l channels throughout

    Parameters: stride 1: (C_in - l) r + r kh kw + r^2 + 4 r (+ r with bias); a stride: C_in r + r kh kw + r^2 + 4 r +
    C_in kh kw + 2 C_in + C_in l (+ C_out with bias). MACs: the weights of R's first 1x1 times H W, the others times
    H' W'.

    Sources differ: the left branch of a strided unit writes half of C_out, not C_in channels. The norms and ReLUs at
    the end are the host's, so that at stride 1 they act on the half that passes, too.
    """

    papers = (
        Paper("ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", "ECCV 2018", "1807.11164"),
    )

    limits = ("dense", "odd kernel", "fixed padding", "kernel above 1x1")

    def build(self, geometry: ConvGeometry, own: Any) -> None:
        self.strided = geometry.stride != (1, 1)
        self.passed, seen, right = _widths(geometry)
        inputs, bias = geometry.in_channels, geometry.bias
        self.margin = centre_margin(geometry)
        if self.strided:
            self.left = nn.Sequential(
                with_norm_act(host_conv(geometry, inputs, inputs, inputs), inputs, "bn"),
                pointwise(inputs, self.passed, bias=bias),
            )
        self.right = nn.Sequential(
            with_norm_act(pointwise(seen, right), right),
            with_norm_act(host_conv(geometry, right, right, right), right, "bn"),
            pointwise(right, right, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.strided:
            left, right = self.left(x), self.right(x)
        else:
            left, right = crop_or_pad(x[:, : self.passed], self.margin), self.right(x[:, self.passed :])
        return shuffle(paddle.concat([left, right], axis=1), 2)

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Any) -> Cost:
        pixels = geometry.output_size(height, width)
        inputs, kernel, bias = geometry.in_channels, geometry.kernel_size, geometry.bias
        passed, seen, channels = _widths(geometry)
        right = (
            Cost.conv(seen, channels, (1, 1), (height, width))
            + Cost.conv(channels, channels, kernel, pixels, channels)
            + Cost.conv(channels, channels, (1, 1), pixels, bias=bias)
            + 2 * Cost.norm(channels)
        )
        if geometry.stride == (1, 1):
            return right
        return (
            right
            + Cost.conv(inputs, inputs, kernel, pixels, inputs)
            + Cost.norm(inputs)
            + Cost.conv(inputs, passed, (1, 1), pixels, bias=bias)
        )


def _widths(geometry: ConvGeometry) -> tuple[int, int, int]:
    """Output channels of the left branch, input and output channels of the right one."""
    inputs, outputs = geometry.in_channels, geometry.out_channels
    if geometry.stride != (1, 1):
        return outputs // 2, inputs, outputs - outputs // 2
    passed = min(inputs, outputs) // 2
    return passed, inputs - passed, outputs - passed
