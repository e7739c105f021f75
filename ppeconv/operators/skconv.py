"""SKConv: branches of different reach, and an attention that weighs them channel by channel."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn
from pydantic import Field

from ppeconv.domains import Channels
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import CentredConv, pointwise, with_norm_act
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


@OPERATORS.register(aliases=("SK",))
class SKConv(ConvOperator):
    """Selective kernels: split into branches, fuse, select.

        U_m = ReLU(BN(Conv_m(X))), Conv_m the host's convolution with its dilation times m, m = 1..B
        z = ReLU(BN(W GAP(sum_m U_m))), of d = max(C_out / r, L) numbers
        Y = sum_m a_m U_m, a = softmax over m of A_m z, per sample and channel

    Parameters: B (C_in/groups C_out kh kw + 2 C_out) + C_out d + 2 d + B d C_out.
    MACs: B C_in/groups C_out kh kw H' W' + (B + 1) C_out d.

    The groups of the branches are the host's: the paper's SKNet-50 is SKConv on the 3x3 of ResNeXt-50 32x4d, without
    the host's norm and activation behind it. The host's bias is dropped, as every branch passes a batch norm.
    """

    papers = (Paper("Selective Kernel Networks", "CVPR 2019", "1903.06586"),)

    class Arguments(OwnArguments):
        branches: Annotated[int, Field(ge=1, le=16)] = 2
        """B; a 3x3 kernel has with B = 2 the reaches 3 and 5."""
        reduction: Channels = 16
        """r, how much narrower z is than Y."""
        min_width: Channels = 32
        """L, the least width of z."""

    default_rules: ClassVar[dict[str, Any]] = {"groups": "any"}
    limits = ("odd kernel", "fixed padding", "kernel above 1x1")

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        channels = geometry.out_channels
        self.branches = nn.LayerList(
            [with_norm_act(_branch(geometry, number), channels) for number in range(1, own.branches + 1)]
        )
        narrow = max(channels // own.reduction, own.min_width)
        self.fuse = with_norm_act(pointwise(channels, narrow), narrow)
        self.select = nn.LayerList([pointwise(narrow, channels) for _ in range(own.branches)])

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.branches]
        z = self.fuse(F.adaptive_avg_pool2d(sum(outputs), 1))
        shares = F.softmax(paddle.concat([select(z) for select in self.select], axis=2), axis=2)
        return sum(shares[:, :, number : number + 1] * output for number, output in enumerate(outputs))

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        channels = geometry.out_channels
        narrow = max(channels // own.reduction, own.min_width)
        branch = Cost.of(replace(geometry, bias=False), height, width) + Cost.norm(channels)
        fuse = Cost.conv(channels, narrow, (1, 1), (1, 1)) + Cost.norm(narrow)
        return own.branches * (branch + Cost.conv(narrow, channels, (1, 1), (1, 1))) + fuse


def _branch(geometry: ConvGeometry, number: int) -> CentredConv:
    rows, columns = geometry.dilation
    dilation = number * rows, number * columns
    return CentredConv(
        geometry, geometry.in_channels, geometry.out_channels, geometry.kernel_size, dilation, geometry.groups
    )
