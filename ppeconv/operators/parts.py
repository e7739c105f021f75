"""Pieces that several operators are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.geometry import ConvGeometry
from ppeconv.layers.shuffle import channel_shuffle

Between = Literal["bn_relu", "bn", "none"]
"""What stands between two convolutions of an operator."""


def host_conv(geometry: ConvGeometry, inputs: int, outputs: int, groups: int = 1, bias: bool = False) -> nn.Conv2D:
    """The replaced convolution with other channels, groups and bias."""
    changed = replace(geometry, in_channels=inputs, out_channels=outputs, groups=groups, bias=bias)
    return nn.Conv2D(**changed.conv_arguments())


def same_conv(
    geometry: ConvGeometry,
    inputs: int,
    outputs: int,
    kernel: tuple[int, int] | None = None,
    stride: tuple[int, int] = (1, 1),
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2D:
    """The replaced convolution's odd kernel, or another, padded so that the size stays but for the stride."""
    kernel = kernel or geometry.kernel_size
    padding = [reach // 2 for reach in _reach(kernel, geometry.dilation)]
    return nn.Conv2D(
        inputs, outputs, kernel, stride, padding, geometry.dilation, groups, bias_attr=None if bias else False
    )


def pointwise(inputs: int, outputs: int, groups: int = 1, bias: bool = False) -> nn.Conv2D:
    """A 1x1 convolution."""
    return nn.Conv2D(inputs, outputs, 1, groups=groups, bias_attr=None if bias else False)


def with_norm_act(conv: nn.Layer, channels: int, between: Between = "bn_relu") -> nn.Layer:
    """`conv`, which writes `channels`, with a batch norm and a ReLU behind it."""
    behind = {"bn_relu": [nn.BatchNorm2D(channels), nn.ReLU()], "bn": [nn.BatchNorm2D(channels)], "none": []}[between]
    return nn.Sequential(conv, *behind) if behind else conv


class CentredConv(nn.Layer):
    """A convolution of another kernel size or dilation, centred on the pixels that the replaced one is centred on."""

    def __init__(
        self,
        geometry: ConvGeometry,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] | None = None,
        groups: int = 1,
        bias: bool = False,
    ):
        super().__init__()
        margin = kernel_margin(geometry, kernel, dilation)
        self.crop = [min(side, 0) for side in margin]
        self.conv = nn.Conv2D(
            inputs,
            outputs,
            kernel,
            geometry.stride,
            [max(side, 0) for side in margin],
            dilation or geometry.dilation,
            groups,
            bias_attr=None if bias else False,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(crop_or_pad(x, self.crop))

    def by(self, x: Tensor, weight: Tensor) -> Tensor:
        """What it gives with a weight without groups in place of its own."""
        conv = self.conv
        return F.conv2d(crop_or_pad(x, self.crop), weight, conv.bias, conv._stride, conv._padding, conv._dilation)


class CentredPool(nn.Layer):
    """A pooling of the replaced convolution's odd kernel and stride, centred on the same pixels, without dilation.

    Averages leave the pixels beyond the border out of the mean, or with exclusive=False count them as zeros.
    """

    def __init__(self, geometry: ConvGeometry, kind: Literal["max", "avg"], exclusive: bool = True):
        super().__init__()
        self.margin = centre_margin(geometry)
        window = geometry.kernel_size, geometry.stride, [side // 2 for side in geometry.kernel_size]
        self.pool = nn.MaxPool2D(*window) if kind == "max" else nn.AvgPool2D(*window, exclusive=exclusive)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(crop_or_pad(x, self.margin))


def kernel_margin(
    geometry: ConvGeometry, kernel: tuple[int, int], dilation: tuple[int, int] | None = None
) -> tuple[int, int, int, int]:
    """Pixels to add (negative: to cut) at top, bottom, left, right so that `kernel` visits the same centres.

    The two kernels' sides must be both odd or both even, or the dilation even.
    """
    new = _reach(kernel, dilation or geometry.dilation)
    old = _reach(geometry.kernel_size, geometry.dilation)
    rows, columns = ((ours - theirs) // 2 for ours, theirs in zip(new, old, strict=True))
    top, bottom, left, right = geometry.margins
    return top + rows, bottom + rows, left + columns, right + columns


def centre_margin(geometry: ConvGeometry) -> tuple[int, int, int, int]:
    """`kernel_margin` of a 1x1 kernel."""
    return kernel_margin(geometry, (1, 1))


def _reach(kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    return dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1)


def crop_or_pad(x: Tensor, margin: Sequence[int]) -> Tensor:
    """Zero-pad each side of [N, C, H, W] by `margin` pixels (top, bottom, left, right); cut where it is negative."""
    top, bottom, left, right = margin
    if min(margin) < 0:
        x = x[:, :, _crop(top, bottom), _crop(left, right)]
    if max(margin) > 0:
        x = F.pad(x, [max(side, 0) for side in (left, right, top, bottom)])
    return x


def _crop(before: int, after: int) -> slice:
    return slice(max(-before, 0), min(after, 0) or None)


def average_pool(x: Tensor, stride: tuple[int, int]) -> Tensor:
    """Average pool of kernel `stride`; an incomplete window at the border averages the pixels it has.

    Published codes pool 2x2 without padding and leave an odd last row or column out, which a convolution of stride 2
    does not; the mean of what is there keeps its size and treats flat regions alike everywhere.
    """
    return x if stride == (1, 1) else F.avg_pool2d(x, stride, stride, ceil_mode=True)


def block_diagonal(weight: Tensor, groups: int) -> list[Tensor]:
    """Of a dense weight [C_out, C_in, kh, kw] the blocks that a grouped convolution has."""
    return [rows.chunk(groups, axis=1)[group] for group, rows in enumerate(weight.chunk(groups, axis=0))]


def split_evenly(channels: int, parts: int) -> list[int]:
    """`channels` in `parts` whole shares as equal as can be, the larger ones first."""
    share, rest = divmod(channels, parts)
    return [share + (part < rest) for part in range(parts)]


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel shuffle: channel a * (C / groups) + b goes to b * groups + a.

    Where C is no multiple of `groups`, the last C mod groups channels keep their places.
    """
    channels = x.shape[1]
    rest = channels % groups
    if groups == 1 or channels < groups:
        return x
    if not rest:
        return channel_shuffle(x, groups)
    return paddle.concat([channel_shuffle(x[:, :-rest], groups), x[:, -rest:]], axis=1)
