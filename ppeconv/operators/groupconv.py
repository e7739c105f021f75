"""GroupConv: the channels in groups that do not see one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import paddle
from paddle import Tensor, nn

from ppeconv.domains import Channels
from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.layers.folding import Affine, bias_of, conv_of, dense, folded
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import block_diagonal, host_conv, shuffle
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


@OPERATORS.register(aliases=("Group",))
class GroupConv(ConvOperator):
    """Grouped convolution: G independent convolutions of C_in / G to C_out / G channels.

    Parameters: C_in C_out kh kw / G (+ C_out with bias); MACs: the weights times H' W'.
    """

    papers = (
        Paper("ImageNet Classification with Deep Convolutional Neural Networks", "NeurIPS 2012"),
        Paper(
            "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices",
            "CVPR 2018",
            "1707.01083",
        ),
    )

    class Arguments(OwnArguments):
        conv_groups: Channels = 2
        """G, which divides C_in and C_out; 1 is the plain convolution."""
        shuffle: bool = False
        """a channel shuffle behind it, so that the next layer's groups see all of these."""

    limits = ("dense",)
    lighter: ClassVar[dict[str, Sequence[Any]]] = {"conv_groups": (2, 4)}
    forms: ClassVar[tuple[str, ...]] = ("separate", "merged")

    @classmethod
    def refuse(cls, geometry: ConvGeometry, own: Arguments) -> None:
        if geometry.in_channels % own.conv_groups or geometry.out_channels % own.conv_groups:
            raise Unsupported(
                f"GroupConv needs conv_groups that divide the input and the output channels; got {own.conv_groups} for "
                f"{geometry.in_channels}->{geometry.out_channels}"
            )

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        self.conv = host_conv(geometry, geometry.in_channels, geometry.out_channels, own.conv_groups, geometry.bias)
        self.shuffle_groups = own.conv_groups if own.shuffle else 1

    def forward(self, x: Tensor) -> Tensor:
        return shuffle(self.conv(x), self.shuffle_groups)

    def deployed(self, after: Affine, form: str | None = None) -> nn.Layer:
        """The convolution with the map behind the shuffle in its weights.

        "merged" makes it dense, with zeros between the groups and its filters in the order of the shuffle: a host's
        MACs, which for groups of a few channels take less time than grouped convolution and shuffle.
        """
        order = np.arange(self.geometry.out_channels).reshape(self.shuffle_groups, -1).T.flatten()
        grouped = folded(self.conv, after.of(np.argsort(order)))
        if form == "merged":
            whole = dense(grouped)
            return conv_of(ConvGeometry.of_layer(whole), whole.weight.numpy()[order], bias_of(whole)[order])
        return nn.Sequential(grouped, nn.ChannelShuffle(self.shuffle_groups)) if self.shuffle_groups > 1 else grouped

    def inherit(self, conv: nn.Conv2D) -> bool:
        blocks = block_diagonal(conv.weight, self.conv._groups)
        self.conv.weight.set_value(paddle.concat(blocks, axis=0))
        if conv.bias is not None:
            self.conv.bias.set_value(conv.bias)
        return True

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        return Cost.of(replace(geometry, groups=own.conv_groups), height, width)
