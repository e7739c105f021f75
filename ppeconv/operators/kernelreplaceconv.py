"""KernelReplaceConv: a large kernel as a sequence of small ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from paddle import Tensor, nn

from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import Between, CentredConv, same_conv, with_norm_act
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper

Form = Literal["asymmetric", "stacked"]


@OPERATORS.register(aliases=("KernelReplace",))
class KernelReplaceConv(ConvOperator):
    """k x k as 1 x k and k x 1, or as a stack of 3x3 convolutions of the same reach.

    The first convolution reads C_in channels, all write C_out; the stride of the stack is that of its last 3x3.
    Parameters: asymmetric C_in C_out kw + C_out^2 kh; stacked of n: 9 C_in C_out + 9 C_out^2 (n - 1); with batch norms
    2 C_out for each gap (+ C_out with bias).
    MACs: asymmetric C_in C_out kw H W' + C_out^2 kh H' W'; stacked 9 C_out H' W' times
    the channels that the last one reads, and for those before it 9 C_out H W times the channels each of them reads.

    In the stacked form every 3x3 pads its own input, as is usual, so that at the border it differs from one large
    kernel even without anything between.
    """

    papers = (Paper("Rethinking the Inception Architecture for Computer Vision", "CVPR 2016", "1512.00567"),)

    class Arguments(OwnArguments):
        form: Form = "asymmetric"
        """"asymmetric" is 1 x kw, then kh x 1; "stacked" is (k - 1) / 2 convolutions of 3x3, for square odd kernels
        (5x5 as two, 7x7 as three; 3x3 stays the plain convolution)."""
        between: Between = "bn_relu"
        """what stands between them: "bn_relu", "bn" or "none"."""

    limits = ("dense", "kernel above 1x1")

    @classmethod
    def refuse(cls, geometry: ConvGeometry, own: Arguments) -> None:
        kernel = geometry.kernel_size
        if own.form == "asymmetric" and min(kernel) == 1:
            raise Unsupported(f"KernelReplaceConv splits a kernel with both sides above 1; got {kernel}")
        if own.form == "stacked" and (kernel[0] != kernel[1] or kernel[0] % 2 == 0):
            raise Unsupported(f"KernelReplaceConv with form='stacked' needs a square odd kernel; got {kernel}")
        if own.form == "stacked" and geometry.padding == "SAME":
            raise Unsupported(
                "KernelReplaceConv with form='stacked' needs a padding that does not depend on the input size; got "
                "'SAME' with a stride"
            )

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        outputs = geometry.out_channels
        *convs, last = _stacked(geometry) if own.form == "stacked" else _asymmetric(geometry)
        self.convs = nn.Sequential(*[with_norm_act(conv, outputs, own.between) for conv in convs], last)

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        outputs, pixels = geometry.out_channels, geometry.output_size(height, width)
        if own.form == "asymmetric":
            across, down = _one_sided(geometry)
            return (
                Cost.of(across, height, width)
                + Cost.between(outputs, own.between)
                + Cost.of(down, *across.output_size(height, width))
            )
        gaps = geometry.kernel_size[0] // 2 - 1
        last = Cost.conv(outputs if gaps else geometry.in_channels, outputs, (3, 3), pixels, bias=geometry.bias)
        if not gaps:
            return last
        first = Cost.conv(geometry.in_channels, outputs, (3, 3), (height, width))
        middle = Cost.conv(outputs, outputs, (3, 3), (height, width))
        return first + (gaps - 1) * middle + gaps * Cost.between(outputs, own.between) + last


def _stacked(geometry: ConvGeometry) -> list[nn.Layer]:
    inputs, outputs = geometry.in_channels, geometry.out_channels
    channels = [inputs, *[outputs] * (geometry.kernel_size[0] // 2)]
    convs = [same_conv(geometry, channels[index], outputs, (3, 3)) for index in range(len(channels) - 2)]
    return [*convs, CentredConv(geometry, channels[-2], outputs, (3, 3), bias=geometry.bias)]


def _asymmetric(geometry: ConvGeometry) -> list[nn.Layer]:
    return [nn.Conv2D(**step.conv_arguments()) for step in _one_sided(geometry)]


def _one_sided(geometry: ConvGeometry) -> tuple[ConvGeometry, ConvGeometry]:
    """1 x kw and kh x 1, each with the stride and, unless it is "SAME", the padding of its own direction."""
    (rows, columns), (down, across), padding = geometry.kernel_size, geometry.stride, geometry.padding
    same = padding == "SAME"
    first = replace(
        geometry,
        kernel_size=(1, columns),
        stride=(1, across),
        padding=padding if same else (0, 0, *padding[2:]),
        bias=False,
    )
    second = replace(
        geometry,
        in_channels=geometry.out_channels,
        kernel_size=(rows, 1),
        stride=(down, 1),
        padding=padding if same else (*padding[:2], 0, 0),
    )
    return first, second
