"""Convolutions and linear layers that run at any width, and those whose weights form a triangle."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.anywidth.blocks import without_zeros
from ppeconv.anywidth.channels import Channels, Layout, take, triangle
from ppeconv.errors import UserError
from ppeconv.geometry import ConvGeometry
from ppeconv.layers.handover import hand_over


class AnyWidthLayer(nn.Layer):
    """What the layers of this package share: the channels they read and write, and their present width."""

    def lay_out(self, inputs: Layout, outputs: Layout) -> None:
        """Fix the channels; called once."""
        self.inputs, self.outputs = inputs, outputs
        self.set_width(1.0)

    def set_width(self, width: float) -> None:
        """Use the channels that are active at a width in (0, 1]."""
        self.width = width
        self.active = self.inputs.at(width), self.outputs.at(width)

    def settle(self) -> None:
        """Called once the layer has its weights for good."""

    @abstractmethod
    def plain(self) -> nn.Layer:
        """An ordinary layer that does what this one does at its present width."""

    def active_params(self) -> int:
        """Trainable values in use at the present width; a masked weight is not."""
        return 0


class Weighted(AnyWidthLayer):
    """A layer with a weight and perhaps a bias, which start as those of the ordinary layer at full width.

    So in a network that is converted they keep what the network's rule has drawn; a narrower width, or a triangle, has
    fewer inputs than the rule has counted, as in the published code.
    """

    @classmethod
    def like(cls, layer: nn.Layer, inputs: Layout, outputs: Layout) -> Weighted:
        """The layer at any width, with the very parameters of `layer`."""
        new = cls(**cls.arguments(layer), inputs=inputs, outputs=outputs)
        new.weight, new.bias = layer.weight, layer.bias
        return new

    def active_weight(self) -> Tensor:
        """The weight as it is used at the present width."""
        raise TypeError(f"{type(self).__name__} defines no active_weight()")

    def active_bias(self) -> Any:
        """The bias as it is used at the present width, or None."""
        return None if self.bias is None else take(self.bias, self.active[1])

    def weights_in_use(self) -> int:
        """Entries of the weight that are active and not masked."""
        return math.prod(self.active_weight().shape)

    def active_params(self) -> int:
        return self.weights_in_use() + (0 if self.bias is None else math.prod(self.active_bias().shape))

    def plain(self) -> nn.Layer:
        weight, bias = self.active_weight(), self.active_bias()
        layer = self.plain_of_shape(weight.shape)
        hand_over([self], layer)
        layer.weight.set_value(weight)
        if bias is not None:
            layer.bias.set_value(bias)
        return layer


class AnyWidthConv2D(nn.Conv2D, Weighted):
    """Convolution with W[:outputs, :inputs] of one weight: [N, active inputs, H, W] -> [N, active outputs, H', W'].

    Called like `nn.Conv2D`. A depthwise convolution writes the channels that it reads.

    Args:
        inputs, outputs: the channels; of their own, rounded with `divisor`, when not given.
        divisor: see `Channels`.
        fixed_in, fixed_out: all inputs or outputs are active at every width, as those of a first or last layer.

    Raises:
        UserError: groups other than one for each channel, another padding than zeros, another layout than NCHW.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias_attr: Any = None,
        padding_mode: str = "zeros",
        data_format: str = "NCHW",
        *,
        inputs: Layout | None = None,
        outputs: Layout | None = None,
        divisor: int = 1,
        fixed_in: bool = False,
        fixed_out: bool = False,
    ):
        refusal = refuse(groups, in_channels, padding_mode, data_format)
        if refusal:
            raise UserError(f"{type(self).__name__} {refusal}")
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias_attr=bias_attr)
        inputs = inputs or Layout.of(Channels(in_channels, divisor=divisor, whole=fixed_in))
        if self.depthwise:
            outputs = inputs.repeated(out_channels // in_channels)
        self.lay_out(inputs, outputs or Layout.of(Channels(out_channels, divisor=divisor, whole=fixed_out)))

    @staticmethod
    def arguments(conv: nn.Conv2D) -> dict[str, Any]:
        """The arguments that make such a convolution."""
        return ConvGeometry.of_layer(conv).conv_arguments()

    @property
    def depthwise(self) -> bool:
        """Whether each input channel has filters of its own."""
        return self._groups > 1

    def active_weight(self) -> Tensor:
        """[active outputs, active inputs, kh, kw]"""
        reads, writes = self.active
        return take(self.weight, writes) if self.depthwise else take(self.weight, writes, reads)

    def forward(self, x: Tensor) -> Tensor:
        groups = x.shape[1] if self.depthwise else 1
        return F.conv2d(
            x, self.active_weight(), self.active_bias(), self._stride, self._padding, self._dilation, groups
        )

    def plain_of_shape(self, shape: list[int]) -> nn.Conv2D:
        """The ordinary convolution whose weight has this shape."""
        arguments = self.arguments(self) | {"in_channels": shape[1], "out_channels": shape[0]}
        if self.depthwise:
            channels = shape[0] * self._in_channels // self._out_channels
            arguments |= {"in_channels": channels, "groups": channels}
        return nn.Conv2D(**arguments)


def refuse(groups: int, in_channels: int, padding_mode: str, data_format: str) -> str | None:
    """Why a convolution cannot run at any width, or None when it can."""
    if groups not in (1, in_channels):
        return f"has {groups} groups of {in_channels // groups} channels, and a group cannot be cut; 1 or {in_channels}"
    if padding_mode != "zeros" or data_format != "NCHW":
        return f"pads with zeros and reads NCHW; got padding_mode {padding_mode!r}, data_format {data_format!r}"
    return None


class AnyWidthLinear(nn.Linear, Weighted):
    """Linear layer with a corner of one weight: [N, active inputs] -> [N, active outputs]. Arguments as above."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias_attr: Any = None,
        *,
        inputs: Layout | None = None,
        outputs: Layout | None = None,
        divisor: int = 1,
        fixed_in: bool = False,
        fixed_out: bool = False,
    ):
        super().__init__(in_features, out_features, bias_attr=bias_attr)
        self.lay_out(
            inputs or Layout.of(Channels(in_features, divisor=divisor, whole=fixed_in)),
            outputs or Layout.of(Channels(out_features, divisor=divisor, whole=fixed_out)),
        )

    @staticmethod
    def arguments(linear: nn.Linear) -> dict[str, Any]:
        """The arguments that make such a layer."""
        inputs, outputs = linear.weight.shape
        return {
            "in_features": inputs,
            "out_features": outputs,
            "bias_attr": None if linear.bias is not None else False,
        }

    def active_weight(self) -> Tensor:
        """[active inputs, active outputs]"""
        return take(self.weight, *self.active)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.active_weight(), self.active_bias())

    def plain_of_shape(self, shape: list[int]) -> nn.Linear:
        """The ordinary layer whose weight has this shape."""
        return nn.Linear(*shape, bias_attr=None if self.bias is not None else False)


class Triangular(Weighted):
    """An output reads the inputs that are active whenever it is, so its value does not depend on the width.

    The mask multiplies the weight in every forward pass and so masks the gradient too: a masked weight begins at zero
    and stays there under any optimizer, with momentum, weight decay or an average of the weights.
    """

    def lay_out(self, inputs: Layout, outputs: Layout) -> None:
        super().lay_out(inputs, outputs)
        self.register_buffer("mask", paddle.to_tensor(self.mask_of(triangle(outputs, inputs))))
        self.settle()

    @paddle.no_grad()
    def settle(self) -> None:
        self.weight.set_value(self.weight * self.mask.astype(self.weight.dtype))

    def active_weight(self) -> Tensor:
        return super().active_weight() * self.active_mask()

    def weights_in_use(self) -> int:
        mask = self.active_mask()
        return int(mask.astype("float64").sum()) * (super().weights_in_use() // math.prod(mask.shape))


class TriangularConv2D(Triangular, AnyWidthConv2D):
    """Convolution whose output o reads only the inputs that are active whenever o is.

    Weights kept for C -> C channels: k^2 C (C + 1) / 2. Arguments as `AnyWidthConv2D`; `mask` is a buffer
    [C_out, C_in, 1, 1]. Depthwise convolutions and those whose outputs are always whole need no mask: they are
    `AnyWidthConv2D`. Source: Any-Width Networks, arXiv 2012.03153; departure: see `triangle`.
    """

    @staticmethod
    def mask_of(readable: np.ndarray) -> np.ndarray:
        """The mask in the shape of the weight."""
        return readable[:, :, None, None]

    def plain(self) -> nn.Layer:
        return without_zeros(super().plain(), self.active_mask().numpy()[:, :, 0, 0])

    def active_mask(self) -> Tensor:
        """The mask at the present width, as numbers."""
        reads, writes = self.active
        return take(self.mask.astype(self.weight.dtype), writes, reads)


class TriangularLinear(Triangular, AnyWidthLinear):
    """Linear layer with such a mask, a buffer [inputs, outputs] as the weight is. Source: arXiv 2012.03153."""

    @staticmethod
    def mask_of(readable: np.ndarray) -> np.ndarray:
        """The mask in the shape of the weight."""
        return np.ascontiguousarray(readable.T)

    def active_mask(self) -> Tensor:
        """The mask at the present width, as numbers."""
        return take(self.mask.astype(self.weight.dtype), *self.active)
