"""DepthwiseSeparableConv: space and channels convolved one after the other."""

from __future__ import annotations

from typing import Literal

from paddle import Tensor, nn

from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import Between, host_conv, pointwise, with_norm_act
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


@OPERATORS.register(aliases=("DepthwiseSeparable",))
class DepthwiseSeparableConv(ConvOperator):
    """A depthwise k x k and a 1x1 convolution, in either order.

    Parameters: dw_pw C_in kh kw + C_in C_out, pw_dw C_in C_out + C_out kh kw; with a batch norm two more for each
    channel between (+ C_out with bias). MACs: dw_pw the weights times H' W'; pw_dw C_in C_out H W + C_out kh kw H' W'.
    """

    papers = (
        Paper("MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", arxiv="1704.04861"),
        Paper("Xception: Deep Learning with Depthwise Separable Convolutions", "CVPR 2017", "1610.02357"),
    )

    class Arguments(OwnArguments):
        order: Literal["dw_pw", "pw_dw"] = "dw_pw"
        """"dw_pw" is MobileNet's, "pw_dw" that of the extreme Inception module."""
        between: Between = "bn_relu"
        """what stands between the two: "bn_relu" as in MobileNet, "bn", or "none" as in Xception."""

    limits = ("dense", "kernel above 1x1")

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        inputs, outputs = geometry.in_channels, geometry.out_channels
        if own.order == "dw_pw":
            first, channels = host_conv(geometry, inputs, inputs, inputs), inputs
            second = pointwise(inputs, outputs, bias=geometry.bias)
        else:
            first, channels = pointwise(inputs, outputs), outputs
            second = host_conv(geometry, outputs, outputs, outputs, geometry.bias)
        self.convs = nn.Sequential(with_norm_act(first, channels, own.between), second)

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        pixels = geometry.output_size(height, width)
        inputs, outputs, kernel = geometry.in_channels, geometry.out_channels, geometry.kernel_size
        if own.order == "dw_pw":
            depthwise = Cost.conv(inputs, inputs, kernel, pixels, inputs)
            mixing = Cost.conv(inputs, outputs, (1, 1), pixels, bias=geometry.bias)
            return depthwise + Cost.between(inputs, own.between) + mixing
        mixing = Cost.conv(inputs, outputs, (1, 1), (height, width))
        return (
            mixing
            + Cost.between(outputs, own.between)
            + Cost.conv(outputs, outputs, kernel, pixels, outputs, geometry.bias)
        )
