"""ParallelDownsample: a strided convolution and a pooling beside each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import paddle
from paddle import Tensor

from ppeconv.domains import ShareOrNone
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import CentredPool, host_conv
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


@OPERATORS.register
class ParallelDownsample(ConvOperator):
    """Part of the output channels from the k x k convolution, the others pooled input channels.

        Y = concat(Conv(X; C_in -> C_out - p), pool(X_1, ..., X_p)), p = min(C_in, floor(share C_out))

    Parameters: C_in (C_out - p) kh kw (+ C_out - p with bias); MACs: the weights times H' W'.

    The paper names no kind of pooling and its networks take the maximum; averages leave the padding out, as those of
    its authors' framework do. Made for stride 2; at stride 1 the pooling keeps the size.
    """

    papers = (Paper("Rethinking the Inception Architecture for Computer Vision", "CVPR 2016", "1512.00567"),)

    class Arguments(OwnArguments):
        share: ShareOrNone = 0.5
        """of the output channels, those that are pooled; 0 is the plain convolution. All input channels are pooled, as
        in the paper, where share C_out reaches C_in."""
        pool: Literal["max", "avg"] = "max"
        """"max" or "avg", with the kernel and stride of the convolution."""

    limits = ("dense", "odd kernel", "fixed padding")

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        self.pooled = _pooled(geometry, own.share)
        outputs = geometry.out_channels - self.pooled
        self.conv = host_conv(geometry, geometry.in_channels, outputs, bias=geometry.bias)
        self.pool = CentredPool(geometry, own.pool)

    def forward(self, x: Tensor) -> Tensor:
        convolved = self.conv(x)
        if not self.pooled:
            return convolved
        return paddle.concat([convolved, self.pool(x[:, : self.pooled])], axis=1)

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        outputs = geometry.out_channels - _pooled(geometry, own.share)
        return Cost.of(replace(geometry, out_channels=outputs), height, width)


def _pooled(geometry: ConvGeometry, share: float) -> int:
    return min(geometry.in_channels, int(share * geometry.out_channels))
