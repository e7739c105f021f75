"""MixConv: depthwise kernels of several sizes in one layer."""

from __future__ import annotations

import copy
from typing import Annotated, Any, ClassVar

import numpy as np
import paddle
from paddle import Tensor, nn

from ppeconv.domains import SOME, KernelSide
from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.layers.folding import Affine, folded, folded_inside
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import Between, CentredConv, pointwise, with_norm_act
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


@OPERATORS.register(aliases=("Mix",))
class MixConv(ConvOperator):
    """Mixed depthwise convolution: the channels stand in groups, and each group has a kernel size of its own.

        Y = concat(DWConv_k1(X_1), ..., DWConv_kG(X_G))

    In place of a depthwise convolution this is all; in place of a dense one a 1x1 convolution follows, as in MixNet.

    Channels: floor(C_in / G) for every group, and the remainder for the first.
    Parameters: sum_j k_j^2 c_j, for a dense host + C_in C_out and the batch norm (+ C_out with bias); MACs: the weights
    times H' W'.

    Departure from the paper: any stride, padding and dilation; every kernel is centred on the pixels that the host's
    kernel is centred on.
    """

    papers = (Paper("MixConv: Mixed Depthwise Convolutional Kernels", "BMVC 2019", "1907.09595"),)

    class Arguments(OwnArguments):
        kernel_sizes: Annotated[list[KernelSide], SOME] | None = None
        """k_1..k_G, square, odd where the host's kernel is odd and even where it is even. Not given: k, k + 2 and k + 4
        for a host of kernel k (as many as there are channels)."""
        between: Between = "bn_relu"
        """what stands between the depthwise and the 1x1 convolution: "bn_relu", "bn" or "none"."""

    default_rules: ClassVar[dict[str, Any]] = {"groups": "any"}
    limits = ("dense or depthwise", "fixed padding", "kernel above 1x1")

    @classmethod
    def refuse(cls, geometry: ConvGeometry, own: Arguments) -> None:
        if len({side % 2 for side in geometry.kernel_size}) > 1:
            raise Unsupported(
                f"MixConv needs a host kernel with both sides odd or both even; got {geometry.kernel_size}"
            )
        sizes = _sizes(geometry, own.kernel_sizes)
        if len(sizes) > geometry.in_channels:
            raise Unsupported(f"MixConv needs 1 to {geometry.in_channels} kernel_sizes; got {own.kernel_sizes}")
        if any((size - geometry.kernel_size[0]) % 2 for size in sizes):
            kind = "odd" if geometry.kernel_size[0] % 2 else "even"
            raise Unsupported(
                f"MixConv needs {kind} kernel_sizes in place of a kernel {geometry.kernel_size}; got {own.kernel_sizes}"
            )

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        dense = geometry.groups == 1
        channels = geometry.in_channels
        sizes = _sizes(geometry, own.kernel_sizes)
        self.shares = mixed_shares(channels, len(sizes))
        bias = geometry.bias and not dense
        self.depthwise = nn.LayerList(
            [
                CentredConv(geometry, share, share, (size, size), groups=share, bias=bias)
                for size, share in zip(sizes, self.shares, strict=True)
            ]
        )
        self.behind = with_norm_act(nn.Identity(), channels, own.between) if dense else nn.Identity()
        self.pointwise = pointwise(channels, geometry.out_channels, bias=geometry.bias) if dense else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.behind(self._mixed(x)))

    def _mixed(self, x: Tensor) -> Tensor:
        if len(self.shares) == 1:
            return self.depthwise[0](x)
        parts, start = [], 0
        for index, share in enumerate(self.shares):  # not split(), which fails behind some convolutions with oneDNN
            parts.append(self.depthwise[index](x[:, start : start + share]))
            start += share
        return paddle.concat(parts, axis=1)

    def deployed(self, after: Affine, form: str | None = None) -> nn.Layer:
        """One depthwise convolution, whose smaller kernels stand in the middle of the largest among zeros.

        What is gained: one memory-bound pass over the channels instead of a slice and a convolution for each size and
        a concatenation; for it MACs rise to those of the largest kernel. Batch norms are in the weights.
        """
        channels, dense = self.geometry.in_channels, self.geometry.groups == 1
        largest = max((part.conv._kernel_size for part in self.depthwise), key=lambda kernel: kernel[0])
        bias = self.depthwise[0].conv.bias is not None
        whole = CentredConv(self.geometry, channels, channels, tuple(largest), groups=channels, bias=bias)
        weights = []
        for part in self.depthwise:
            rim = (largest[0] - part.conv._kernel_size[0]) // 2
            weights.append(np.pad(part.conv.weight.numpy(), [(0, 0), (0, 0), (rim, rim), (rim, rim)]))
        whole.conv.weight.set_value(np.concatenate(weights))
        if bias:
            whole.conv.bias.set_value(np.concatenate([part.conv.bias.numpy() for part in self.depthwise]))
        if not dense:
            return folded_inside(whole, whole.conv, after)
        _, *behind = list(self.behind.children()) or [None]
        if behind:
            whole = folded_inside(whole, whole.conv, Affine.of_norm(behind[0]))
        return nn.Sequential(whole, *copy.deepcopy(behind[1:]), folded(self.pointwise, after))

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        dense = geometry.groups == 1
        pixels = geometry.output_size(height, width)
        channels = geometry.in_channels
        sizes = _sizes(geometry, own.kernel_sizes)
        shares = zip(sizes, mixed_shares(channels, len(sizes)), strict=True)
        bias = geometry.bias and not dense
        depthwise = sum((Cost.conv(share, share, (size, size), pixels, share, bias) for size, share in shares), Cost())
        if not dense:
            return depthwise
        mixing = Cost.conv(channels, geometry.out_channels, (1, 1), pixels, bias=geometry.bias)
        return depthwise + Cost.between(channels, own.between) + mixing


def mixed_shares(channels: int, parts: int) -> list[int]:
    """Channels of each kernel size; the first also gets what remains of the division."""
    share, rest = divmod(channels, parts)
    return [share + rest, *[share] * (parts - 1)]


def _sizes(geometry: ConvGeometry, kernel_sizes: list[int] | None) -> list[int]:
    if kernel_sizes is not None:
        return kernel_sizes
    smallest = max(geometry.kernel_size)
    return [smallest, smallest + 2, smallest + 4][: geometry.in_channels]
