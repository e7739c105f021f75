"""SPConv: part of the channels gets the k x k convolution, the rest a 1x1.

Paper: Split to Be Slim: An Overlooked Redundancy in Vanilla Convolution, IJCAI 2020, arXiv 2006.12085.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.registry import OPERATORS


@OPERATORS.register
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

    @classmethod
    def check(
        cls, geometry: ConvGeometry, *, ratio: float = 0.5, gwc_groups: int = 2, branch_bias: bool = False
    ) -> None:
        super().check(geometry)
        if not 0 < ratio < 1:
            raise Unsupported(f"SPConv needs a ratio between 0 and 1, both excluded; got {ratio}")
        if gwc_groups < 1:
            raise Unsupported(f"SPConv needs gwc_groups of at least 1; got {gwc_groups}")
        if geometry.groups != 1:
            raise Unsupported(f"SPConv stands in for a dense convolution; this one has groups={geometry.groups}")
        if not all(side % 2 for side in geometry.kernel_size):
            raise Unsupported(f"SPConv needs an odd kernel, to align its 1x1 branches; got {geometry.kernel_size}")
        if geometry.padding == "SAME":
            raise Unsupported("SPConv needs a padding that does not depend on the input size; got 'SAME' with a stride")
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
        bias = None if branch_bias else False
        self.representative = representative_channels(geometry.in_channels, ratio, gwc_groups)
        self.gwc = nn.Conv2D(
            self.representative,
            channels,
            geometry.kernel_size,
            geometry.stride,
            list(geometry.padding),
            geometry.dilation,
            gwc_groups,
            bias_attr=bias,
        )
        self.pwc = nn.Conv2D(self.representative, channels, 1, bias_attr=bias)
        self.redundant = nn.Conv2D(geometry.in_channels - self.representative, channels, 1)
        self.bn3 = nn.BatchNorm2D(channels)
        self.bn1 = nn.BatchNorm2D(channels)
        self.margin = centre_margin(geometry)

    def forward(self, x: Tensor) -> Tensor:
        centre = self._downsample(reframe(x, self.margin))
        u3 = self.bn3(self.gwc(x[:, : self.representative]) + self.pwc(centre[:, : self.representative]))
        u1 = self.bn1(self.redundant(centre[:, self.representative :]))
        gate = F.sigmoid(F.adaptive_avg_pool2d(u3, 1) - F.adaptive_avg_pool2d(u1, 1))
        return u1 + gate * (u3 - u1)

    def _downsample(self, x: Tensor) -> Tensor:
        stride = self.geometry.stride
        return x if stride == (1, 1) else F.avg_pool2d(x, stride, stride, ceil_mode=True)

    @classmethod
    def formula(
        cls,
        geometry: ConvGeometry,
        height: int,
        width: int,
        *,
        ratio: float = 0.5,
        gwc_groups: int = 2,
        branch_bias: bool = False,
    ) -> tuple[int, int]:
        kernel = geometry.kernel_size[0] * geometry.kernel_size[1]
        spatial = representative_channels(geometry.in_channels, ratio, gwc_groups) // gwc_groups * kernel
        weights = geometry.out_channels * (spatial + geometry.in_channels)
        rows, columns = geometry.output_size(height, width)
        return weights + geometry.out_channels * (7 if branch_bias else 5), weights * rows * columns


def representative_channels(channels: int, ratio: float, groups: int) -> int:
    """Channels that get the k x k convolution: a multiple of `groups`, at least one group, fewer than all."""
    largest = (channels - 1) // groups * groups
    return min(max(groups * round(ratio * channels / groups), groups), largest)


def centre_margin(geometry: ConvGeometry) -> tuple[int, int, int, int]:
    """Pixels to add (negative: to cut) at top, bottom, left, right so that a 1x1 kernel visits the k x k centres."""
    reach = [dilation * (side - 1) // 2 for side, dilation in zip(geometry.kernel_size, geometry.dilation, strict=True)]
    top, bottom, left, right = geometry.padding
    return top - reach[0], bottom - reach[0], left - reach[1], right - reach[1]


def reframe(x: Tensor, margin: Sequence[int]) -> Tensor:
    """Zero-pad each side of [N, C, H, W] by `margin` pixels (top, bottom, left, right); cut where it is negative."""
    top, bottom, left, right = margin
    if min(margin) < 0:
        x = x[:, :, _cut(top, bottom), _cut(left, right)]
    if max(margin) > 0:
        x = F.pad(x, [max(side, 0) for side in (left, right, top, bottom)])
    return x


def _cut(before: int, after: int) -> slice:
    return slice(max(-before, 0), min(after, 0) or None)
