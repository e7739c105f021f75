"""SPConv: part of the channels gets the k x k convolution, the rest a 1x1.

Paper: Split to Be Slim: An Overlooked Redundancy in Vanilla Convolution, IJCAI 2020, arXiv 2006.12085.
"""

from __future__ import annotations

import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import centre_margin, host_conv, pooled, reframe
from ppeconv.registry import OPERATORS


@OPERATORS.register(aliases=("SP",))
class SPConv(ConvOperator):
    """Split-based convolution: k x k grouped + 1x1 on the representative channels, 1x1 on the redundant ones.

    With A the first r channels of x, B the others and P the average pool of the host's stride:

        U3 = BN(GWC(A) + PWC(P(A)))    U1 = BN(PWC(P(B)))    Y = w U3 + (1 - w) U1
        w = softmax over (GAP(U3), GAP(U1)) per sample and channel = sigmoid(GAP(U3) - GAP(U1))

    Own arguments:
        ratio: share of representative channels; r = gwc_groups * round(ratio * C_in / gwc_groups), kept in
            [gwc_groups, C_in - 1].
        gwc_groups: groups of the k x k convolution; the paper's 2 for every ratio.
        branch_bias: a bias in GWC and PWC too. The published code has one in the redundant 1x1 alone.

    Parameters: C_out * (r kh kw / g + C_in + 5), with branch_bias 2 C_out more.
    MACs: C_out * (r kh kw / g + C_in) * H' W'.

    Departures from the paper, which has k = 3, padding 1 and stride 1 or 2: any odd kernel, padding, dilation and
    stride. The 1x1 branches see the input cropped or zero-padded to the frame that the k x k kernel's centre visits,
    and an incomplete pooling window at the border averages the pixels it has, so that odd sizes fit at stride 2.
    The host's bias is dropped, as U3 and U1 pass a batch norm.
    """

    limits = ("dense", "odd kernel", "fixed padding")

    @classmethod
    def refuse(cls, geometry: ConvGeometry, *, ratio: float, gwc_groups: int, branch_bias: bool) -> None:
        if not 0 < ratio < 1:
            raise Unsupported(f"SPConv needs a ratio between 0 and 1, both excluded; got {ratio}")
        if gwc_groups < 1:
            raise Unsupported(f"SPConv needs gwc_groups of at least 1; got {gwc_groups}")
        if geometry.in_channels <= gwc_groups:
            raise Unsupported(
                f"SPConv with gwc_groups={gwc_groups} needs more than {gwc_groups} input channels; "
                f"got {geometry.in_channels}"
            )
        if geometry.out_channels % gwc_groups:
            raise Unsupported(
                f"SPConv needs output channels divisible by gwc_groups={gwc_groups}; got {geometry.out_channels}"
            )

    def build(
        self, geometry: ConvGeometry, *, ratio: float = 0.5, gwc_groups: int = 2, branch_bias: bool = False
    ) -> None:
        channels = geometry.out_channels
        self.representative = representative_channels(geometry.in_channels, ratio, gwc_groups)
        self.gwc = host_conv(geometry, self.representative, channels, gwc_groups, bias=branch_bias)
        self.pwc = nn.Conv2D(self.representative, channels, 1, bias_attr=None if branch_bias else False)
        self.redundant = nn.Conv2D(geometry.in_channels - self.representative, channels, 1)
        self.bn3 = nn.BatchNorm2D(channels)
        self.bn1 = nn.BatchNorm2D(channels)
        self.margin = centre_margin(geometry)

    def forward(self, x: Tensor) -> Tensor:
        centre = pooled(reframe(x, self.margin), self.geometry.stride)
        u3 = self.bn3(self.gwc(x[:, : self.representative]) + self.pwc(centre[:, : self.representative]))
        u1 = self.bn1(self.redundant(centre[:, self.representative :]))
        gate = F.sigmoid(F.adaptive_avg_pool2d(u3, 1) - F.adaptive_avg_pool2d(u1, 1))
        return u1 + gate * (u3 - u1)

    @classmethod
    def cost(
        cls, geometry: ConvGeometry, height: int, width: int, *, ratio: float, gwc_groups: int, branch_bias: bool
    ) -> Cost:
        pixels = geometry.output_size(height, width)
        inputs, outputs = geometry.in_channels, geometry.out_channels
        representative = representative_channels(inputs, ratio, gwc_groups)
        return (
            Cost.conv(representative, outputs, geometry.kernel_size, pixels, gwc_groups, branch_bias)
            + Cost.conv(representative, outputs, (1, 1), pixels, bias=branch_bias)
            + Cost.conv(inputs - representative, outputs, (1, 1), pixels, bias=True)
            + 2 * Cost.norm(outputs)
        )


def representative_channels(channels: int, ratio: float, groups: int) -> int:
    """Channels that get the k x k convolution: a multiple of `groups`, at least one group, fewer than all."""
    largest = (channels - 1) // groups * groups
    return min(max(groups * round(ratio * channels / groups), groups), largest)
