"""SPConv: part of the channels gets the k x k convolution, the rest a 1x1."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.domains import Channels, Positive, Share
from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.layers import functional
from ppeconv.layers.folding import Affine, bias_of, conv_of, dense, folded
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import average_pool, centre_margin, crop_or_pad, host_conv
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


@OPERATORS.register(aliases=("SP",))
class SPConv(ConvOperator):
    """Split-based convolution: k x k grouped + 1x1 on the representative channels, 1x1 on the redundant ones.

    With A the first r channels of x, B the others and P the average pool of the host's stride:

        U3 = BN(GWC(A) + PWC(P(A)))    U1 = BN(PWC(P(B)))    Y = w U3 + (1 - w) U1
        w = softmax over (GAP(U3), GAP(U1)) per sample and channel = sigmoid(GAP(U3) - GAP(U1))

    Parameters: C_out * (r kh kw / g + C_in + 5), with branch_bias 2 C_out more.
    MACs: C_out * (r kh kw / g + C_in) * H' W'.

    Departures from the paper, which has k = 3, padding 1 and stride 1 or 2: any odd kernel, padding, dilation and
    stride. The 1x1 branches see the input cropped or zero-padded to the frame that the k x k kernel's centre visits,
    and an incomplete pooling window at the border averages the pixels it has, so that odd sizes fit at stride 2.
    The host's bias is dropped, as U3 and U1 pass a batch norm.
    """

    papers = (Paper("Split to Be Slim: An Overlooked Redundancy in Vanilla Convolution", "IJCAI 2020", "2006.12085"),)

    class Arguments(OwnArguments):
        ratio: Share = 0.5
        """share of representative channels; r = gwc_groups * round(ratio * C_in / gwc_groups), kept in [gwc_groups,
        C_in - 1]."""
        gwc_groups: Channels = 2
        """groups of the k x k convolution; the paper's 2 for every ratio."""
        branch_bias: bool = False
        """a bias in GWC and PWC too. The published code has one in the redundant 1x1 alone."""
        branch_scale: Positive = 1.0
        """where the scales of the two norms start; the published code's 1. A norm behind the operator takes the scale
        out of Y again but not out of w, so that a small one starts with both branches at about a half."""

    limits = ("dense", "odd kernel", "fixed padding")
    forms: ClassVar[tuple[str, ...]] = ("gate_first", "separate", "merged")
    fusing_form = "gate_first"

    @classmethod
    def refuse(cls, geometry: ConvGeometry, own: Arguments) -> None:
        if geometry.in_channels <= own.gwc_groups:
            raise Unsupported(
                f"SPConv with gwc_groups={own.gwc_groups} needs more than {own.gwc_groups} input channels; "
                f"got {geometry.in_channels}"
            )
        if geometry.out_channels % own.gwc_groups:
            raise Unsupported(
                f"SPConv needs output channels divisible by gwc_groups={own.gwc_groups}; got {geometry.out_channels}"
            )

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        channels = geometry.out_channels
        self.representative = representative_channels(geometry.in_channels, own)
        self.gwc = host_conv(geometry, self.representative, channels, own.gwc_groups, bias=own.branch_bias)
        self.pwc = nn.Conv2D(self.representative, channels, 1, bias_attr=None if own.branch_bias else False)
        self.redundant = nn.Conv2D(geometry.in_channels - self.representative, channels, 1)
        self.bn3, self.bn1 = (
            nn.BatchNorm2D(channels, weight_attr=nn.initializer.Constant(own.branch_scale)) for _ in range(2)
        )
        self.margin = centre_margin(geometry)

    def forward(self, x: Tensor) -> Tensor:
        centre = average_pool(crop_or_pad(x, self.margin), self.geometry.stride)
        u3 = self.bn3(self.gwc(x[:, : self.representative]) + self.pwc(centre[:, : self.representative]))
        u1 = self.bn1(self.redundant(centre[:, self.representative :]))
        return functional.softmax_blend(u3, u1)

    def deployed(self, after: Affine, form: str | None = None) -> nn.Layer:
        if form == "gate_first":
            return (GateFirstSPConv if GateFirstSPConv.suits(self.geometry) else DeployedSPConv)(self, after)
        narrow = self.representative // self.gwc._groups <= 16
        return DeployedSPConv(self, after, merged=narrow if form is None else form == "merged")

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        pixels = geometry.output_size(height, width)
        inputs, outputs = geometry.in_channels, geometry.out_channels
        representative = representative_channels(inputs, own)
        return (
            Cost.conv(representative, outputs, geometry.kernel_size, pixels, own.gwc_groups, own.branch_bias)
            + Cost.conv(representative, outputs, (1, 1), pixels, bias=own.branch_bias)
            + Cost.conv(inputs - representative, outputs, (1, 1), pixels, bias=True)
            + 2 * Cost.norm(outputs)
        )


class DeployedSPConv(nn.Layer):
    """SPConv and a batch norm behind it, with all three norms in the weights of its convolutions.

    The two shares add up to 1, so a map s y + t behind the operator may be done to both branches: U3' = s U3 + t and
    U1' = s U1 + t. The gate is that of the unscaled branches, sigmoid(GAP(U3' - U1') / s), where t cancels. A small s
    makes the gate inexact and at the same time what the gate multiplies small, so the result stays exact; at s = 0 the
    gate does not matter.

    What is gained: no batch norm is left, one pooling instead of two, and Y' = U1' + gate (U3' - U1') passes over the
    images three times. MACs stay the same.

    Args:
        operator: the trained operator.
        after: the map behind it.
        merged: the k x k convolution made dense, at stride 1 with the representative 1x1 in the centre of its kernels:
            r C_out kh kw H' W' MACs instead of r C_out (kh kw / g + 1) H' W'. For groups of up to 16 channels
            oneDNN chooses another memory layout than for the 1x1 convolutions, and every sum between the two is slow
            (ResNet20, batch 64, Paddle Inference 3.3.1: 20 times); there this is the usual form.
    """

    def __init__(self, operator: SPConv, after: Affine, merged: bool = False):
        super().__init__()
        self.representative, self.margin = operator.representative, operator.margin
        self.stride = operator.geometry.stride
        spatial = Affine.of_norm(operator.bn3).then(after)
        self.gwc = folded(operator.gwc, spatial.linear())
        self.pwc = folded(operator.pwc, spatial)
        self.redundant = folded(operator.redundant, Affine.of_norm(operator.bn1).then(after))
        if merged or self.gwc._groups == 1:
            centre = self.pwc if self.stride == (1, 1) else None
            self.gwc, self.pwc = dense(self.gwc, centre), None if centre else self.pwc
        unscaled = np.where(after.vanishing, 0, 1 / np.where(after.vanishing, 1, after.scale))
        self.register_buffer("unscaled", paddle.to_tensor(unscaled.reshape(1, -1, 1, 1), "float32"))

    def forward(self, x: Tensor) -> Tensor:
        difference, u1 = self.branches(x)
        gate = F.sigmoid(F.adaptive_avg_pool2d(difference, 1) * self.unscaled)
        return u1 + difference * gate  # in this order: oneDNN broadcasts the second factor fast, the first one slowly

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """U3' - U1' and U1'."""
        centre = average_pool(crop_or_pad(x, self.margin), self.stride)
        u1 = self.redundant(centre[:, self.representative :])  # before the others, which can then subtract it
        u3 = self.gwc(x[:, : self.representative])
        if self.pwc is not None:
            u3 = u3 + self.pwc(centre[:, : self.representative])
        return u3 - u1, u1


class GateFirstSPConv(DeployedSPConv):
    """The same with the gate known before the convolutions, which can then apply it to what they store.

    GAP(U3' - U1') is linear in x: with S[i, j] the mean of the pixels that the tap (i, j) of the k x k kernel visits,
    zeros of the padding among them, it is a k x k convolution of the k x k map S that has one result. All S are one
    average pool whose windows are as large as the result, at the places of the taps.

    What is gained where a runtime does the operations behind a convolution inside it: the pool, the gate and the
    convolutions are all that is left, and nothing passes over the images but these. The gate has as many weights as
    the replaced convolution and as many MACs for an image, so that it is for few channels.

    The k x k convolution is dense where its groups have fewer results than a vector of 16 numbers, which they would
    compute alone (16 images, 32x32, 8 -> 16 channels, oneDNN 3.6, AMD EPYC with AVX-512, 1 thread: 368 us in place of
    418 and 49 for the 1x1; 16 -> 32 on 16x16: 336 in place of 156 and 43).
    """

    def __init__(self, operator: SPConv, after: Affine):
        few = operator.geometry.out_channels // operator.gwc._groups < 16
        super().__init__(operator, after, merged=few)
        self.geometry = operator.geometry
        self.gate = self._difference()

    @staticmethod
    def suits(geometry: ConvGeometry) -> bool:
        """Whether it can be for this convolution, of stride 1 and equal padding on both sides, and is not slower."""
        top, bottom, left, right = geometry.margins
        weights = geometry.in_channels * geometry.out_channels * math.prod(geometry.kernel_size)
        return geometry.stride == (1, 1) and (top, left) == (bottom, right) and weights <= 1 << 16

    def _difference(self) -> nn.Conv2D:
        """GAP(U3' - U1') / s from the means S."""
        geometry, unscaled = self.geometry, self.unscaled.numpy().reshape(-1)
        spatial, (height, width) = dense(self.gwc, self.pwc), geometry.kernel_size
        weight = np.zeros((geometry.out_channels, geometry.in_channels, height, width))
        weight[:, : self.representative] = spatial.weight.numpy()
        weight[:, self.representative :, height // 2, width // 2] = -self.redundant.weight.numpy()[:, :, 0, 0]
        valid = replace(geometry, padding=(0, 0, 0, 0), dilation=(1, 1))
        bias = bias_of(spatial) - bias_of(self.redundant)
        return conv_of(valid, weight * unscaled[:, None, None, None], bias * unscaled)

    def forward(self, x: Tensor) -> Tensor:
        window, margins = self.geometry.output_size(*x.shape[2:]), self.geometry.margins
        if min(window) <= max(margins):  # a tap that visits nothing but padding
            return super().forward(x)
        means = F.avg_pool2d(x, window, self.geometry.dilation, margins[::2], exclusive=False)
        gate = F.sigmoid(self.gate(means))
        difference, u1 = self.branches(x)
        return u1 + difference * gate


def representative_channels(channels: int, own: SPConv.Arguments) -> int:
    """Channels that get the k x k convolution: a multiple of the groups, at least one group, fewer than all."""
    groups = own.gwc_groups
    largest = (channels - 1) // groups * groups
    return min(max(groups * round(own.ratio * channels / groups), groups), largest)
