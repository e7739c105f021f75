"""Batch norms as affine maps, and convolutions that take such a map into their weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
from paddle import nn

from ppeconv.geometry import ConvGeometry


@dataclass(frozen=True)
class Affine:
    """y = scale x + shift, channel by channel; both are float64 [C]."""

    scale: np.ndarray
    shift: np.ndarray

    @classmethod
    def identity(cls, channels: int) -> Affine:
        """The map that changes nothing."""
        return cls(np.ones(channels), np.zeros(channels))

    @classmethod
    def of_norm(cls, norm: nn.Layer) -> Affine:
        """What a batch norm, with or without scale and shift, does in eval mode; see `is_foldable_norm`."""
        mean, variance = (value.numpy().astype(np.float64) for value in (norm._mean, norm._variance))
        weight, bias = (
            default if value is None else value.numpy() for value, default in ((norm.weight, 1), (norm.bias, 0))
        )
        scale = weight / np.sqrt(variance + norm._epsilon)
        return cls(scale, bias - mean * scale)

    def then(self, other: Affine) -> Affine:
        """This map, and `other` on what it gives."""
        return Affine(self.scale * other.scale, self.shift * other.scale + other.shift)

    @property
    def vanishing(self) -> np.ndarray:
        """Whether a channel's scale is too small to divide float32 by; bool [C]."""
        return np.abs(self.scale) < 1e-20

    def linear(self) -> Affine:
        """The same without the shift, for all but one of several summands."""
        return Affine(self.scale, np.zeros_like(self.shift))

    def of(self, channels: slice | np.ndarray) -> Affine:
        """The part for some of the channels."""
        return Affine(self.scale[channels], self.shift[channels])


def is_foldable_norm(layer: nn.Layer) -> bool:
    """Whether a layer is a batch norm that is an affine map of the channels of NCHW tensors in eval mode."""
    if type(layer) in (nn.BatchNorm2D, nn.SyncBatchNorm):
        fixed = getattr(layer, "_use_global_stats", None) is not False
        return fixed and layer._data_format == "NCHW" and not hooked(layer)
    if type(layer) is nn.BatchNorm:
        fixed = not layer._trainable_statistics and not layer._act
        return fixed and layer._data_layout == "NCHW" and not hooked(layer)
    return False


def is_foldable_conv(layer: nn.Layer) -> bool:
    """Whether a layer is a plain convolution whose weights are its own, not made by a hook as in weight norm."""
    return type(layer) is nn.Conv2D and layer._data_format == "NCHW" and not hooked(layer)


def hooked(layer: nn.Layer) -> bool:
    """Whether a layer does more than its forward."""
    return bool(layer._forward_pre_hooks or layer._forward_post_hooks)


def conv_of(geometry: ConvGeometry, weight: np.ndarray, bias: np.ndarray | None = None) -> nn.Conv2D:
    """A convolution with these weights; no bias where it is None or zero."""
    needed = bias is not None and bool(np.any(bias))
    conv = nn.Conv2D(**replace(geometry, bias=needed).conv_arguments())
    conv.weight.set_value(weight.astype(np.float32))
    if bias is not None and needed:
        conv.bias.set_value(bias.astype(np.float32))
    return conv


def bias_of(conv: nn.Conv2D) -> np.ndarray:
    """A convolution's bias [C_out]; zeros where it has none."""
    return np.zeros(conv.weight.shape[0]) if conv.bias is None else conv.bias.numpy()


def folded(conv: nn.Conv2D, after: Affine) -> nn.Conv2D:
    """A new convolution that gives what `after` makes of the output of `conv`."""
    weight = conv.weight.numpy() * after.scale[:, None, None, None]
    return conv_of(ConvGeometry.of_layer(conv), weight, bias_of(conv) * after.scale + after.shift)


def folded_inside(layer: nn.Layer, conv: nn.Conv2D, after: Affine) -> nn.Layer:
    """A copy of `layer` whose last step is `conv`, with `after` in the weights of that."""
    return copy.deepcopy(layer, {id(conv): folded(conv, after)})


def dense(spatial: nn.Conv2D, centre: nn.Conv2D | None = None) -> nn.Conv2D:
    """A dense convolution for a grouped one, and for the sum of one of odd kernel with a 1x1 on the same channels."""
    geometry = replace(ConvGeometry.of_layer(spatial), groups=1)
    weight = np.zeros((geometry.out_channels, geometry.in_channels, *geometry.kernel_size))
    inputs, outputs = (side // spatial._groups for side in (geometry.in_channels, geometry.out_channels))
    for group in range(spatial._groups):
        rows, columns = slice(group * outputs, (group + 1) * outputs), slice(group * inputs, (group + 1) * inputs)
        weight[rows, columns] = spatial.weight.numpy()[rows]
    if centre is not None:
        weight[:, :, geometry.kernel_size[0] // 2, geometry.kernel_size[1] // 2] += centre.weight.numpy()[:, :, 0, 0]
    return conv_of(geometry, weight, bias_of(spatial) + (0 if centre is None else bias_of(centre)))
