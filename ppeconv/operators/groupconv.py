"""GroupConv: the channels in groups that do not see one another.

Source: ImageNet Classification with Deep Convolutional Neural Networks, NeurIPS 2012; the shuffle: arXiv 1707.01083.
"""

from __future__ import annotations

from dataclasses import replace

import paddle
from paddle import Tensor, nn

from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import block_diagonal, host_conv, shuffle
from ppeconv.registry import OPERATORS


@OPERATORS.register(aliases=("Group",))
class GroupConv(ConvOperator):
    """Grouped convolution: G independent convolutions of C_in / G to C_out / G channels.

    Own arguments:
        conv_groups: G, which divides C_in and C_out; 1 is the plain convolution.
        shuffle: a channel shuffle behind it, so that the next layer's groups see all of these.

    Parameters: C_in C_out kh kw / G (+ C_out with bias); MACs: the weights times H' W'.
    """

    limits = ("dense",)

    @classmethod
    def refuse(cls, geometry: ConvGeometry, *, conv_groups: int, shuffle: bool) -> None:
        if conv_groups < 1 or geometry.in_channels % conv_groups or geometry.out_channels % conv_groups:
            raise Unsupported(
                f"GroupConv needs conv_groups that divide the input and the output channels; got {conv_groups} for "
                f"{geometry.in_channels}->{geometry.out_channels}"
            )

    def build(self, geometry: ConvGeometry, *, conv_groups: int = 2, shuffle: bool = False) -> None:
        self.conv = host_conv(geometry, geometry.in_channels, geometry.out_channels, conv_groups, geometry.bias)
        self.shuffle_groups = conv_groups if shuffle else 1

    def forward(self, x: Tensor) -> Tensor:
        return shuffle(self.conv(x), self.shuffle_groups)

    def inherit(self, conv: nn.Conv2D) -> bool:
        blocks = block_diagonal(conv.weight, self.conv._groups)
        self.conv.weight.set_value(paddle.concat(blocks, axis=0))
        if conv.bias is not None:
            self.conv.bias.set_value(conv.bias)
        return True

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, *, conv_groups: int, shuffle: bool) -> Cost:
        return Cost.of(replace(geometry, groups=conv_groups), height, width)
