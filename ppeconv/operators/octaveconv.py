"""OctaveConv: a part of the channels at half the resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from paddle import Tensor, nn

from ppeconv.domains import ShareOrNone
from ppeconv.errors import Unsupported, UserError
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator, copy_weights
from ppeconv.operators.cost import Cost
from ppeconv.operators.octaveflow import octave_passage
from ppeconv.operators.octaves import Octaves, PooledConv, downsample, merge_octaves, split_octaves, upsample_like
from ppeconv.operators.parts import average_pool, centre_margin, crop_or_pad, host_conv, same_conv
from ppeconv.operators.passage import Passage
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


class OctaveCore(nn.Layer):
    """Octave convolution; what has no low-frequency channels is a plain tensor. See `OctaveConv`."""

    def __init__(self, geometry: ConvGeometry, alpha_in: float, alpha_out: float, two_tensor: bool):
        super().__init__()
        self.geometry = geometry
        self.low_in, self.low_out = int(alpha_in * geometry.in_channels), int(alpha_out * geometry.out_channels)
        high_in, high_out = geometry.in_channels - self.low_in, geometry.out_channels - self.low_out
        if not self.low_in and not self.low_out:
            plain = host_conv(geometry, high_in, high_out, geometry.groups, geometry.bias)
            self.plain = PooledConv(plain) if two_tensor and geometry.stride != (1, 1) else plain
            return
        mixed, bias = geometry.groups == 1, geometry.bias
        self.high_to_high = self._conv(high_in, high_out, bias)
        self.low_to_high = self._conv(self.low_in, high_out, False) if self.low_in and mixed else None
        self.low_to_low = (
            self._conv(self.low_in, self.low_out, bias and not mixed) if self.low_in and self.low_out else None
        )
        self.high_to_low = self._conv(high_in, self.low_out, bias) if self.low_out and mixed else None

    def _conv(self, inputs: int, outputs: int, bias: bool) -> nn.Conv2D:
        groups = 1 if self.geometry.groups == 1 else inputs
        return same_conv(self.geometry, inputs, outputs, groups=groups, bias=bias)

    def forward(self, x: Tensor | Octaves) -> Tensor | Octaves:
        if not self.low_in and not self.low_out:
            return self.plain(x)
        high, low = x if self.low_in else (x, None)
        stride = self.geometry.stride
        high = average_pool(high, stride)
        y_high = self.high_to_high(high)
        if self.low_to_high is not None:
            added = self.low_to_high(low)
            y_high = y_high + (added if stride == (2, 2) else upsample_like(added, high))
        if not self.low_out:
            return y_high
        parts = []
        if self.low_to_low is not None:
            parts.append(self.low_to_low(average_pool(low, stride)))
        if self.high_to_low is not None:
            parts.append(self.high_to_low(downsample(high)))
        return Octaves(y_high, sum(parts))

    def inherit(self, conv: nn.Conv2D) -> None:
        """Take the weights of a plain convolution; the paths share them out without rest."""
        if not self.low_in and not self.low_out:
            copy_weights(conv, self.plain)
            return
        high_in = self.geometry.in_channels - self.low_in if self.geometry.groups == 1 else None
        high_out = self.geometry.out_channels - self.low_out
        places = (
            (self.high_to_high, slice(None, high_out), slice(None, high_in)),
            (self.low_to_high, slice(None, high_out), slice(high_in, None)),
            (self.low_to_low, slice(high_out, None), slice(high_in, None)),
            (self.high_to_low, slice(high_out, None), slice(None, high_in)),
        )
        for path, outputs, inputs in places:
            if path is not None:
                path.weight.set_value(conv.weight[outputs, inputs])
                if path.bias is not None:
                    path.bias.set_value(conv.bias[outputs])


@OPERATORS.register(aliases=("Octave", "OctConv", "Oct"))
class OctaveConv(ConvOperator):
    """Octave convolution: the last channels are low-frequency, kept and convolved at half the resolution.

        Y_h = W_hh * X_h + up(W_lh * X_l)    Y_l = W_ll * X_l + W_hl * pool(X_h)

    with X_l = pool of the last int(alpha_in C_in) channels, Y = concat(Y_h, up(Y_l)), pool the 2x2 average, up the
    nearest neighbour.

    Parameters: the plain convolution's, whatever alpha is (depthwise, too). MACs at stride 1, H' and W' even:
    C_in C_out kh kw H' W' (1 - 3/4 (a_in + a_out - a_in a_out)), with the shares rounded down to channels; at stride 2
    the l -> h path has H' W' pixels.

    As a layer for itself it takes and gives one tensor and halves and doubles anew; with the rule flow=true
    `replace_conv` lets both resolutions flow through a residual network, as in the paper.
    At stride 2 the inputs are average-pooled and convolved with stride 1, as in the published code; with alpha 0 on
    both sides only with two_tensor, and a layer for itself is then the convolution with its stride.
    Depthwise hosts have the h -> h and l -> l paths only. The convolutions pad to keep the size of the frame that the
    host kernel's centre visits; low maps of odd sizes are rounded up.
    """

    papers = (
        Paper(
            "Drop an Octave: Reducing Spatial Redundancy in Convolutional Neural Networks with Octave Convolution",
            "ICCV 2019",
            "1904.05049",
        ),
    )

    class Arguments(OwnArguments):
        alpha: ShareOrNone = 0.25
        """share of low-frequency channels on both sides; 0 is the plain convolution."""
        alpha_in: ShareOrNone | None = None
        """share of the input channels, where it differs from alpha."""
        alpha_out: ShareOrNone | None = None
        """share of the output channels, where it differs from alpha."""
        two_tensor: bool = False
        """take and give `Octaves` (on a side without low-frequency channels, a tensor), for layers between which
        nothing is merged."""

    default_rules: ClassVar[dict[str, Any]] = {"min_kernel": 1}
    limits = ("dense or depthwise", "odd kernel", "fixed padding")
    lighter: ClassVar[dict[str, Sequence[Any]]] = {"alpha": (0.25, 0.5)}

    @classmethod
    def refuse(cls, geometry: ConvGeometry, own: Arguments) -> None:
        shares = _shares(own)
        if geometry.groups > 1 and shares[0] != shares[1]:
            raise Unsupported(f"OctaveConv in place of a depthwise convolution needs one alpha; got {shares}")
        if geometry.stride not in ((1, 1), (2, 2)):
            raise Unsupported(f"OctaveConv needs stride 1 or 2; got {geometry.stride}")
        if own.two_tensor and centre_margin(geometry) != (0, 0, 0, 0):
            raise Unsupported(
                f"OctaveConv with two_tensor needs the padding that keeps the size; got {geometry.padding} for a "
                f"kernel {geometry.kernel_size}"
            )

    @classmethod
    def describe(cls, geometry: ConvGeometry, own: Arguments) -> str:
        low_in, low_out = _shares(own)
        return f"{geometry}, alpha {low_in:g} -> {low_out:g}"

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        self.core = OctaveCore(geometry, *_shares(own), own.two_tensor)
        self.two_tensor = own.two_tensor
        self.margin = centre_margin(geometry) if self.core.low_in or self.core.low_out else (0, 0, 0, 0)

    def forward(self, x: Tensor | Octaves) -> Tensor | Octaves:
        if self.two_tensor:
            return self.core(x)
        return merge_octaves(self.core(split_octaves(crop_or_pad(x, self.margin), self.core.low_in)))

    def inherit(self, conv: nn.Conv2D) -> bool:
        self.core.inherit(conv)
        return True

    @classmethod
    def passage(cls, model: nn.Layer, own: Any) -> Passage:
        if {"alpha_in", "alpha_out", "two_tensor"} & own.model_fields_set:
            raise UserError(
                "with rules.flow the shares of every layer follow from alpha; leave the other arguments out"
            )
        return octave_passage(model, own.alpha)

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        alpha_in, alpha_out = _shares(own)
        plain = Cost.of(geometry, height, width)
        low_in, low_out = int(alpha_in * geometry.in_channels), int(alpha_out * geometry.out_channels)
        if not low_in and not low_out:
            return plain
        pixels = geometry.output_size(height, width)
        small = -(-pixels[0] // 2), -(-pixels[1] // 2)
        high_in, high_out = geometry.in_channels - low_in, geometry.out_channels - low_out
        kernel = geometry.kernel_size
        if geometry.groups > 1:
            high = Cost.conv(high_in, high_in, kernel, pixels, high_in)
            low = Cost.conv(low_in, low_in, kernel, small, low_in)
            return Cost(plain.params, high.macs + low.macs)
        to_high = (high_in, pixels), (low_in, pixels if geometry.stride == (2, 2) else small)
        macs = sum(Cost.conv(inputs, high_out, kernel, size).macs for inputs, size in to_high)
        return Cost(plain.params, macs + Cost.conv(geometry.in_channels, low_out, kernel, small).macs)


def _shares(own: OctaveConv.Arguments) -> tuple[float, float]:
    """alpha of the inputs and of the outputs."""
    low_in, low_out = (own.alpha if share is None else share for share in (own.alpha_in, own.alpha_out))
    return low_in, low_out
