"""HetConv: in every filter a part of the kernels is k x k and the others are 1x1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import paddle
from paddle import Tensor, nn

from ppeconv.domains import Channels
from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.layers.folding import Affine, dense, folded, folded_inside
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import CentredConv, block_diagonal, host_conv
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper

Form = Literal["exact", "unmasked"]


@OPERATORS.register(aliases=("Het",))
class HetConv(ConvOperator):
    """Heterogeneous kernels: k x k on 1/P of a filter's input channels, 1x1 on the others.

    Channels and filters stand in P groups; the filters of a group have k x k kernels on the input channels of the
    same group:

        Y_g = Conv_kxk(X_g) + Conv_1x1(X without X_g), g = 1..P

    Parameters: exact C_in C_out (kh kw / P + 1 - 1/P) (+ C_out with bias); unmasked C_in C_out (kh kw / P + 1).
    MACs: the weights times H' W'.

    Departures from the paper: the k x k kernels of filter o are on a block of channels and not on every P-th one,
    which is the same up to a permutation of channels (the author's code does so too). The 1x1 part holds the weights
    it uses and no others: one grouped convolution, whose input repeats for every group the channels of the others. In
    training these copies cost more than 1 / P of products with zeros, so there it is one dense convolution.
    """

    papers = (Paper("HetConv: Heterogeneous Kernel-Based Convolutions for Deep CNNs", "CVPR 2019", "1903.04120"),)

    class Arguments(OwnArguments):
        parts: Channels = 4
        """P, which divides C_in and C_out; with form "exact", 1 is the plain convolution."""
        form: Form = "exact"
        """"exact" is the definition; "unmasked" the sum of a grouped k x k and a 1x1 over all channels, without bias,
        as the author's code is when its mask is not counted."""

    limits = ("dense", "odd kernel", "fixed padding", "kernel above 1x1")
    lighter: ClassVar[dict[str, Sequence[Any]]] = {"parts": (2, 4)}
    forms: ClassVar[tuple[str, ...]] = ("separate", "merged")

    @classmethod
    def refuse(cls, geometry: ConvGeometry, own: Arguments) -> None:
        if geometry.in_channels % own.parts or geometry.out_channels % own.parts:
            raise Unsupported(
                f"HetConv needs parts that divide the input and the output channels; got parts={own.parts} for "
                f"{geometry.in_channels}->{geometry.out_channels}"
            )

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        inputs, outputs = geometry.in_channels, geometry.out_channels
        self.parts, self.share, self.exact = own.parts, inputs // own.parts, own.form == "exact"
        self.spatial = host_conv(geometry, inputs, outputs, own.parts, geometry.bias and self.exact)
        if not self.exact:
            self.pointwise = CentredConv(geometry, inputs, outputs)
        elif own.parts > 1:
            self.pointwise = CentredConv(geometry, inputs * (own.parts - 1), outputs, groups=own.parts)

    def forward(self, x: Tensor) -> Tensor:
        if not self.exact:
            return self.spatial(x) + self.pointwise(x)
        if self.parts == 1:
            return self.spatial(x)
        if self.training:
            return self.spatial(x) + self.pointwise.by(x, self.dense_pointwise())
        others = [part for group in range(self.parts) for part in _around(x, group, self.share)]
        return self.spatial(x) + self.pointwise(paddle.concat(others, axis=1))

    def dense_pointwise(self) -> Tensor:
        """The 1x1 kernels [C_out, C_in, 1, 1] of form "exact", zeros where a group would read its own channels."""
        weight = self.pointwise.conv.weight
        own = paddle.zeros([weight.shape[0] // self.parts, self.share, 1, 1], weight.dtype)
        rows = []
        for group, others in enumerate(weight.chunk(self.parts, axis=0)):
            start = group * self.share
            rows.append(paddle.concat([others[:, :start], own, others[:, start:]], axis=1))
        return paddle.concat(rows, axis=0)

    def deployed(self, after: Affine, form: str | None = None) -> nn.Layer | None:
        """The k x k convolution and one dense 1x1, which has zeros where a group would read its own channels.

        What is gained: the channels of the other groups are not copied once for each group, which costs far more than
        the 1 / P of the 1x1 that is zeros. The map behind is in the weights. "merged" is the sum of the two as one
        dense k x k convolution with a host's MACs: nothing is added up, which up to 16 channels costs more than the
        MACs, so there it is the usual form.
        """
        if self.parts == 1:
            return None
        separate = DeployedHetConv(self, after)
        narrow = self.geometry.in_channels <= 16
        merged = narrow if form is None else form == "merged"
        return dense(separate.spatial, separate.pointwise.conv) if merged else separate

    def inherit(self, conv: nn.Conv2D) -> bool:
        if not self.exact:
            return False
        self.spatial.weight.set_value(paddle.concat(block_diagonal(conv.weight, self.parts), axis=0))
        if conv.bias is not None:
            self.spatial.bias.set_value(conv.bias)
        if self.parts > 1:
            rows, columns = (side // 2 for side in self.geometry.kernel_size)
            centres = conv.weight[:, :, rows : rows + 1, columns : columns + 1].chunk(self.parts, axis=0)
            self.pointwise.conv.weight.set_value(
                paddle.concat(
                    [paddle.concat(_around(rows, group, self.share), axis=1) for group, rows in enumerate(centres)]
                )
            )
        return True

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        pixels = geometry.output_size(height, width)
        inputs, outputs = geometry.in_channels, geometry.out_channels
        if own.form == "unmasked":
            spatial = Cost.conv(inputs, outputs, geometry.kernel_size, pixels, own.parts)
            return spatial + Cost.conv(inputs, outputs, (1, 1), pixels)
        return Cost.conv(inputs, outputs, geometry.kernel_size, pixels, own.parts, geometry.bias) + Cost.conv(
            inputs * (own.parts - 1), outputs, (1, 1), pixels, own.parts
        )


class DeployedHetConv(nn.Layer):
    """Sum of a grouped k x k and a dense 1x1 convolution; see `HetConv.deployed`."""

    def __init__(self, operator: HetConv, after: Affine):
        super().__init__()
        geometry = operator.geometry
        pointwise = operator.pointwise
        if operator.exact:
            pointwise = CentredConv(geometry, geometry.in_channels, geometry.out_channels)
            pointwise.conv.weight.set_value(operator.dense_pointwise())
        self.spatial = folded(operator.spatial, after)
        self.pointwise = folded_inside(pointwise, pointwise.conv, after.linear())

    def forward(self, x: Tensor) -> Tensor:
        return self.spatial(x) + self.pointwise(x)


def _around(x: Tensor, group: int, share: int) -> list[Tensor]:
    """The channels of `x` before and behind a group."""
    start, stop = group * share, (group + 1) * share
    return [part for part in (x[:, :start], x[:, stop:]) if part.shape[1]]
