"""FireConv: a 1x1 to few channels, and from these a 1x1 and a k x k beside each other."""

from __future__ import annotations

import copy
from dataclasses import replace
from math import ceil
from typing import ClassVar

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.domains import Multiplier, Share
from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.layers.folding import Affine, conv_of, folded
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import CentredConv, host_conv, pointwise
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


@OPERATORS.register(aliases=("Fire",))
class FireConv(ConvOperator):
    """Fire module: squeeze to s1 channels and ReLU, then expand by 1x1 (e1) and k x k (e3), concatenated.

    Parameters: C_in s1 + s1 + s1 e1 + s1 e3 kh kw (+ C_out with bias); MACs: C_in s1 H W + s1 (e1 + e3 kh kw) H' W'.

    The ReLU at the end of the paper's module is the host's.
    """

    papers = (
        Paper("SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size", arxiv="1602.07360"),
    )

    class Arguments(OwnArguments):
        squeeze: Multiplier = 0.125
        """s1 = ceil(squeeze C_out); 1/8 in SqueezeNet."""
        share: Share = 0.5
        """of the output channels, those of the k x k kernel: e3 = round(share C_out), e1 = C_out - e3."""

    limits = ("dense", "odd kernel", "fixed padding", "kernel above 1x1")
    forms: ClassVar[tuple[str, ...]] = ("separate", "merged")

    @classmethod
    def refuse(cls, geometry: ConvGeometry, own: Arguments) -> None:
        if not 0 < round(own.share * geometry.out_channels) < geometry.out_channels:
            raise Unsupported(
                f"FireConv needs a share that leaves each kernel one of {geometry.out_channels} channels; "
                f"got {own.share}"
            )

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        narrow, points, spatial = _widths(geometry, own)
        self.squeeze = pointwise(geometry.in_channels, narrow, bias=True)
        self.expand1 = CentredConv(geometry, narrow, points, bias=geometry.bias)
        self.expand3 = host_conv(geometry, narrow, spatial, bias=geometry.bias)

    def forward(self, x: Tensor) -> Tensor:
        narrow = F.relu(self.squeeze(x))
        return paddle.concat([self.expand1(narrow), self.expand3(narrow)], axis=1)

    def deployed(self, after: Affine, form: str | None = None) -> nn.Layer | None:
        """Merged: one k x k expansion, whose 1x1 part stands in the centre of its kernels, with the map behind in it.

        What is gained: nothing is concatenated, and norm and activation behind it are part of the convolution; for it
        the 1x1 part costs kh kw as many MACs. Up to 64 channels this is the usual form; above, the operator stays.
        """
        narrow = self.geometry.out_channels <= 64
        merged = narrow if form is None else form == "merged"
        if not merged:
            return None
        points, spatial = self.expand1.conv, self.expand3
        rim = [(side // 2, side // 2) for side in self.geometry.kernel_size]
        weight = np.concatenate([np.pad(points.weight.numpy(), [(0, 0), (0, 0), *rim]), spatial.weight.numpy()])
        bias = np.concatenate([points.bias.numpy(), spatial.bias.numpy()]) if self.geometry.bias else None
        geometry = replace(ConvGeometry.of_layer(spatial), out_channels=self.geometry.out_channels)
        return nn.Sequential(copy.deepcopy(self.squeeze), nn.ReLU(), folded(conv_of(geometry, weight, bias), after))

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        pixels = geometry.output_size(height, width)
        narrow, points, spatial = _widths(geometry, own)
        return (
            Cost.conv(geometry.in_channels, narrow, (1, 1), (height, width), bias=True)
            + Cost.conv(narrow, points, (1, 1), pixels, bias=geometry.bias)
            + Cost.conv(narrow, spatial, geometry.kernel_size, pixels, bias=geometry.bias)
        )


def _widths(geometry: ConvGeometry, own: FireConv.Arguments) -> tuple[int, int, int]:
    """s1, e1, e3."""
    spatial = round(own.share * geometry.out_channels)
    return ceil(own.squeeze * geometry.out_channels), geometry.out_channels - spatial, spatial
