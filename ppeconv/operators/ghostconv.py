"""GhostConv: few filters, and cheap depthwise filters on what they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import Any, ClassVar

import numpy as np
import paddle
from paddle import Tensor, nn

from ppeconv.domains import Channels, OddKernelSide
from ppeconv.geometry import ConvGeometry
from ppeconv.layers.folding import Affine, bias_of, conv_of, folded
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import Between, host_conv, with_norm_act
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


@OPERATORS.register(aliases=("Ghost",))
class GhostConv(ConvOperator):
    """Ghost module: intrinsic channels from the k x k convolution, the others from a depthwise one on these.

        Y1 = Conv_kxk(X; C_in -> m), m = ceil(C_out / ratio)    Y2 = DWConv_dxd(Y1; m -> m (ratio - 1))
        Y = the first C_out channels of concat(Y1, Y2)

    Parameters: C_in m kh kw + m (ratio - 1) d^2 (+ m ratio with bias, + 2 m ratio with a batch norm); MACs: the
    weights times H' W'.

    Departure from the paper, whose module ends in batch norm and ReLU: with inner="none", the default, the host's norm
    and activation are the only ones. A bias of the host stands in each of the two convolutions. The published code of
    Ghost-ResNet50 has nothing between them either, but always these biases, and no norms in its blocks.
    """

    papers = (Paper("GhostNet: More Features from Cheap Operations", "CVPR 2020", "1911.11907"),)

    class Arguments(OwnArguments):
        ratio: Channels = 2
        """output channels for each intrinsic one; 1 is the plain convolution."""
        cheap_kernel: OddKernelSide = 3
        """d, the odd side of the depthwise kernels."""
        inner: Between = "none"
        """what follows each of the two convolutions: "none", "bn" or "bn_relu"."""

    default_rules: ClassVar[dict[str, Any]] = {"min_kernel": 1}
    limits = ("dense",)
    lighter: ClassVar[dict[str, Sequence[Any]]] = {"ratio": (2, 4)}
    forms: ClassVar[tuple[str, ...]] = ("separate", "merged")

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        self.inner = own.inner
        self.intrinsic = ceil(geometry.out_channels / own.ratio)
        self.ghosts = self.intrinsic * (own.ratio - 1)
        bias = geometry.bias and own.inner == "none"
        primary = host_conv(geometry, geometry.in_channels, self.intrinsic, bias=bias)
        self.primary = with_norm_act(primary, self.intrinsic, own.inner)
        if self.ghosts:
            cheap = nn.Conv2D(
                self.intrinsic,
                self.ghosts,
                own.cheap_kernel,
                padding=own.cheap_kernel // 2,
                groups=self.intrinsic,
                bias_attr=None if bias else False,
            )
            self.cheap = with_norm_act(cheap, self.ghosts, own.inner)

    def forward(self, x: Tensor) -> Tensor:
        intrinsic = self.primary(x)
        if not self.ghosts:
            return intrinsic
        channels = self.geometry.out_channels - self.intrinsic
        return paddle.concat([intrinsic, self.cheap(intrinsic)[:, :channels]], axis=1)

    def deployed(self, after: Affine, form: str | None = None) -> nn.Layer | None:
        """Both convolutions with the norms behind them in their weights; None with a ReLU in between.

        "separate" joins them as they are, both with the scale of the map behind in their weights, and shifts what is
        joined, which a runtime does with the sum or the ReLU that follows. Ghosts undo the scale; where one vanishes,
        "merged" stands in.
        "merged" joins nothing: the first convolution gives every channel, the intrinsic ones mapped and what each ghost
        is made of, and a depthwise one keeps those and makes the ghosts of these. That takes the MACs of the replaced
        convolution, but no copy and no pass over the images, and is the usual form up to 16 channels, one vector of
        numbers, of which a few filters leave lanes empty.
        """
        if self.inner == "bn_relu":
            return None
        if self.intrinsic == self.geometry.out_channels:
            conv, norm = _conv_and_norm(self.primary)
            return folded(conv, norm.then(after))
        narrow = self.geometry.out_channels <= 16
        merged = narrow if form is None else form == "merged"
        undoable = not after.of(slice(self.intrinsic)).vanishing.any()
        return DeployedGhostConv(self, after) if undoable and not merged else _merged(self, after)

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        pixels = geometry.output_size(height, width)
        intrinsic = ceil(geometry.out_channels / own.ratio)
        ghosts = intrinsic * (own.ratio - 1)
        bias = geometry.bias and own.inner == "none"
        return (
            Cost.conv(geometry.in_channels, intrinsic, geometry.kernel_size, pixels, bias=bias)
            + Cost.conv(intrinsic, ghosts, (own.cheap_kernel, own.cheap_kernel), pixels, intrinsic, bias)
            + Cost.between(intrinsic + ghosts, own.inner)
        )


class DeployedGhostConv(nn.Layer):
    """The intrinsic channels beside their ghosts, without norms; see `GhostConv.deployed`."""

    def __init__(self, operator: GhostConv, after: Affine):
        super().__init__()
        self.channels = operator.geometry.out_channels - operator.intrinsic
        primary, norm = _conv_and_norm(operator.primary)
        behind = after.of(slice(operator.intrinsic))
        self.primary = folded(primary, norm.then(behind.linear()))
        self.cheap = _folded_cheap(operator, after, behind.scale)
        shift = np.concatenate([behind.shift, np.zeros(self.channels)])
        self.register_buffer("shift", paddle.to_tensor(shift.reshape(1, -1, 1, 1), "float32") if shift.any() else None)

    def forward(self, x: Tensor) -> Tensor:
        intrinsic = self.primary(x)
        ghosts = self.cheap(intrinsic)[:, : self.channels]
        joined = paddle.concat([intrinsic, ghosts], axis=1)
        return joined if self.shift is None else joined + self.shift


def _merged(operator: GhostConv, after: Affine) -> nn.Layer:
    """A convolution to all channels and a depthwise one."""
    intrinsic, channels = operator.intrinsic, operator.geometry.out_channels
    ghosts = np.arange(channels - intrinsic)
    sources = ghosts // (operator.ghosts // intrinsic)
    primary, norm = _conv_and_norm(operator.primary)
    mapped, plain = folded(primary, norm.then(after.of(slice(intrinsic)))), folded(primary, norm)
    cheap = _folded_cheap(operator, after)
    every = conv_of(
        replace(ConvGeometry.of_layer(primary), out_channels=channels),
        np.concatenate([mapped.weight.numpy(), plain.weight.numpy()[sources]]),
        np.concatenate([bias_of(mapped), bias_of(plain)[sources]]),
    )
    kernels = np.zeros((channels, *cheap.weight.shape[1:]))
    kernels[:intrinsic, :, cheap.weight.shape[2] // 2, cheap.weight.shape[3] // 2] = 1
    kernels[intrinsic:] = cheap.weight.numpy()[ghosts]
    depthwise = replace(ConvGeometry.of_layer(cheap), in_channels=channels, out_channels=channels, groups=channels)
    shifts = np.concatenate([np.zeros(intrinsic), bias_of(cheap)[ghosts]])
    return nn.Sequential(every, conv_of(depthwise, kernels, shifts))


def _folded_cheap(operator: GhostConv, after: Affine, scale: np.ndarray | None = None) -> nn.Conv2D:
    """The depthwise convolution; of ghosts too many, which nothing reads, the map behind is that of others.

    Args:
        operator: of it.
        after: the map behind.
        scale: of the intrinsic channels that the convolution reads; 1 when not given.
    """
    used = operator.geometry.out_channels - operator.intrinsic
    cheap, norm = _conv_and_norm(operator.cheap)
    made = folded(cheap, norm.then(after.of(operator.intrinsic + np.arange(operator.ghosts) % used)))
    if scale is not None:
        undone = made.weight.numpy() / np.repeat(scale, operator.ghosts // operator.intrinsic)[:, None, None, None]
        made.weight.set_value(undone.astype(np.float32))
    return made


def _conv_and_norm(layer: nn.Layer) -> tuple[nn.Conv2D, Affine]:
    """What `with_norm_act` made without a ReLU, the norm as a map."""
    if isinstance(layer, nn.Sequential):
        return layer[0], Affine.of_norm(layer[1])
    return layer, Affine.identity(layer.weight.shape[0])
