"""InceptionConv: kernels of several sizes and a pooling beside one another."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import paddle
from paddle import Tensor, nn
from pydantic import Field

from ppeconv.domains import Natural
from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import CentredConv, CentredPool, host_conv, pointwise, same_conv, with_norm_act
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper

Form = Literal["reduced", "naive", "factorised"]


class Widths(NamedTuple):
    """Channels written by the 1x1 (n1), the k x k (n3, after r3), the larger kernel (n5, after r5) and the pooling."""

    n1: int
    r3: int
    n3: int
    r5: int
    n5: int
    pool: int


@OPERATORS.register(aliases=("Inception",))
class InceptionConv(ConvOperator):
    """Inception module: 1x1, k x k, (k+2) x (k+2) and max pool beside one another, concatenated.

    In the naive form the pooling branch holds the first `pool` input channels; the others are not pooled.
    Parameters: naive C_in (n1 + kh kw n3 + (kh+2) (kw+2) n5); reduced C_in (n1 + r3 + r5 + pool) + kh kw r3 n3 +
    (kh+2) (kw+2) r5 n5 + 2 (r3 + r5); factorised with 9 r5 n5 + 2 n5 + kh kw n5^2 for the largest kernel (+ the
    channels of the convolutions that end the branches with bias).
    MACs: each weight times H' W', those of 1x1 before a kernel and of the factorised 3x3 times H W.

    Departures from GoogLeNet: any odd kernel, stride and padding; a batch norm behind every inner convolution.
    """

    papers = (
        Paper("Going Deeper with Convolutions", "CVPR 2015", "1409.4842"),
        Paper("Rethinking the Inception Architecture for Computer Vision", "CVPR 2016", "1512.00567"),
    )

    class Arguments(OwnArguments):
        form: Form = "reduced"
        """"naive" has these alone; "reduced" a 1x1 with batch norm and ReLU before the two large kernels and a 1x1
        behind the pooling; "factorised" is "reduced" with the largest kernel as 3x3 and k x k."""
        widths: Annotated[list[Natural], Field(min_length=6, max_length=6)] | None = None
        """[n1, r3, n3, r5, n5, pool], the channels as in GoogLeNet's table; n1 + n3 + n5 + pool is C_out. Not given: n1
        = C_out / 4, n5 = pool = C_out / 8, rounded down, the rest for n3; r3 = 3/4 n3, r5 = 1/2 n5. "naive" does not
        use r3 and r5."""

    limits = ("dense", "odd kernel", "fixed padding", "kernel above 1x1")

    @classmethod
    def refuse(cls, geometry: ConvGeometry, own: Arguments) -> None:
        given = _widths(geometry, own)
        if given.n1 + given.n3 + given.n5 + given.pool != geometry.out_channels:
            raise Unsupported(
                f"InceptionConv needs widths with n1 + n3 + n5 + pool = {geometry.out_channels} channels; "
                f"got {own.widths}"
            )
        if own.form == "naive" and given.pool > geometry.in_channels:
            raise Unsupported(
                f"InceptionConv in the naive form pools at most the {geometry.in_channels} input channels; "
                f"got {own.widths}"
            )
        if own.form != "naive" and ((given.n3 and not given.r3) or (given.n5 and not given.r5)):
            raise Unsupported(f"InceptionConv needs r3 and r5 above 0 where n3 and n5 are; got {own.widths}")

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        channels = _widths(geometry, own)
        self.pool_inputs = channels.pool if own.form == "naive" else geometry.in_channels
        branches = [
            CentredConv(geometry, geometry.in_channels, channels.n1, bias=geometry.bias) if channels.n1 else None,
            _kernel_branch(geometry, own.form, channels.r3, channels.n3) if channels.n3 else None,
            _large_branch(geometry, own.form, channels.r5, channels.n5) if channels.n5 else None,
        ]
        self.branches = nn.LayerList([branch for branch in branches if branch is not None])
        self.pool = _pool_branch(geometry, own.form, channels.pool) if channels.pool else None

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.branches]
        if self.pool is not None:
            outputs.append(self.pool(x[:, : self.pool_inputs]))
        return paddle.concat(outputs, axis=1)

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        pixels, before = geometry.output_size(height, width), (height, width)
        inputs, kernel, bias = geometry.in_channels, geometry.kernel_size, geometry.bias
        n1, r3, n3, r5, n5, pool = _widths(geometry, own)
        cost = Cost.conv(inputs, n1, (1, 1), pixels, bias=bias)
        if own.form == "naive":
            large = Cost.conv(inputs, n5, _larger(kernel), pixels, bias=bias)
            return cost + Cost.conv(inputs, n3, kernel, pixels, bias=bias) + large
        r3, r5 = r3 if n3 else 0, r5 if n5 else 0
        cost += Cost.conv(inputs, r3 + r5, (1, 1), before) + Cost.norm(r3 + r5)
        cost += Cost.conv(r3, n3, kernel, pixels, bias=bias) + Cost.conv(inputs, pool, (1, 1), pixels, bias=bias)
        if own.form == "reduced":
            return cost + Cost.conv(r5, n5, _larger(kernel), pixels, bias=bias)
        return cost + Cost.conv(r5, n5, (3, 3), before) + Cost.norm(n5) + Cost.conv(n5, n5, kernel, pixels, bias=bias)


def _widths(geometry: ConvGeometry, own: InceptionConv.Arguments) -> Widths:
    if own.widths is not None:
        return Widths(*own.widths)
    outputs = geometry.out_channels
    n1, n5 = outputs // 4, outputs // 8
    pool = min(outputs // 8, geometry.in_channels) if own.form == "naive" else outputs // 8
    n3 = outputs - n1 - n5 - pool
    return Widths(n1, max(3 * n3 // 4, 1), n3, max(n5 // 2, 1), n5, pool)


def _larger(kernel: tuple[int, int]) -> tuple[int, int]:
    return kernel[0] + 2, kernel[1] + 2


def _kernel_branch(geometry: ConvGeometry, form: Form, reduced: int, outputs: int) -> nn.Layer:
    inputs, bias = geometry.in_channels, geometry.bias
    if form == "naive":
        return host_conv(geometry, inputs, outputs, bias=bias)
    reduce = with_norm_act(pointwise(inputs, reduced), reduced)
    return nn.Sequential(reduce, host_conv(geometry, reduced, outputs, bias=bias))


def _large_branch(geometry: ConvGeometry, form: Form, reduced: int, outputs: int) -> nn.Layer:
    inputs, bias = geometry.in_channels, geometry.bias
    if form == "naive":
        return CentredConv(geometry, inputs, outputs, _larger(geometry.kernel_size), bias=bias)
    reduce = with_norm_act(pointwise(inputs, reduced), reduced)
    if form == "reduced":
        large = CentredConv(geometry, reduced, outputs, _larger(geometry.kernel_size), bias=bias)
        return nn.Sequential(reduce, large)
    first = with_norm_act(same_conv(geometry, reduced, outputs, (3, 3)), outputs)
    return nn.Sequential(reduce, first, host_conv(geometry, outputs, outputs, bias=bias))


def _pool_branch(geometry: ConvGeometry, form: Form, outputs: int) -> nn.Layer:
    pool = CentredPool(geometry, "max")
    if form == "naive":
        return pool
    return nn.Sequential(pool, pointwise(geometry.in_channels, outputs, bias=geometry.bias))
