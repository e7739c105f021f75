"""MaskedVersatileConv: versatile filters whose masks are learned."""

from __future__ import annotations

from math import ceil
from typing import Literal

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.domains import Channels, NotNegative
from ppeconv.geometry import ConvGeometry
from ppeconv.layers.folding import Affine, conv_of, folded
from ppeconv.layers.handover import fit_in, hand_over_hooks
from ppeconv.layers.walk import exchange, walk
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments, Paper


@OPERATORS.register(aliases=("MaskedVersatile",))
class MaskedVersatileConv(ConvOperator):
    """Every stored filter is used s times, each time under a learned binary mask of its own.

        Y = concat_j((M_j o f) * X + b_j), j = 1..s    M_j = 1 where H_j > 0.5, else 0

    The real-valued proxies H are in [0, 1] and begin uniformly distributed there. The gradient of M_j is passed to H_j
    as it is (straight through). H is a buffer, so the optimizer with its momentum and decay leaves it alone; after
    every update the layer itself does H <- clip(H - mask_lr dL/dH, 0, 1).
    In any network f starts with He's normal over its n inputs, of which a mask at first shows about half.
    `auxiliary_loss` is lambda * 1/2 ||M^T M / n - I||^2, M the n x s matrix of one filter's masks, n = C_in kh kw; it
    pushes a filter's masks apart. The trainer adds it to the loss.

    Parameters: C_in kh kw ceil(C_out / s) (+ C_out with bias); the masks are bits: s n, with scheme b
    s n ceil(C_out / s), which `frozen` packs. MACs: the plain convolution's.

    Departures: the threshold is 0.5 (sign() of the paper is 1 nearly everywhere on [0, 1]) and H goes on from its own
    value, not from the binary one; the loss of scheme b is the mean over the filters; the paper's lambda is not known.
    With a loss scaler (float16) the step of H would be scaled, too: use bfloat16 or float32.
    """

    papers = (
        Paper("Learning Versatile Convolution Filters for Efficient Visual Recognition", arxiv="2109.09310"),
        Paper("Full-Stack Filters to Build Minimum Viable CNNs", arxiv="1908.02023"),
    )

    class Arguments(OwnArguments):
        secondaries: Channels = 2
        """s, the masks of a filter."""
        scheme: Literal["shared", "per_filter"] = "per_filter"
        """"shared" has one set of s masks for all filters (scheme a), "per_filter" one for each (scheme b, the more
        accurate in the paper)."""
        ortho: NotNegative = 0.01
        """lambda, the weight of the auxiliary loss."""
        mask_lr: NotNegative = 0.1
        """step size of H."""

    limits = ("dense",)

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        primaries = ceil(geometry.out_channels / own.secondaries)
        filters = [primaries, geometry.in_channels, *geometry.kernel_size]
        self.ortho, self.mask_lr = own.ortho, own.mask_lr
        self.weight = self.create_parameter(filters, default_initializer=nn.initializer.KaimingNormal())
        self.bias = self.create_parameter([geometry.out_channels], is_bias=True) if geometry.bias else None
        self.register_buffer(
            "proxy", paddle.rand([own.secondaries, primaries if own.scheme == "per_filter" else 1, *filters[1:]])
        )
        self.proxy.stop_gradient = False

    def masks(self) -> Tensor:
        """The binary masks [s, filters or 1, C_in, kh, kw]; in training their gradient goes to the proxies."""
        binary = (self.proxy > 0.5).astype(self.proxy.dtype)
        return binary + (self.proxy - self.proxy.detach()) if self.training else binary

    def forward(self, x: Tensor) -> Tensor:
        return _convolved(x, self.weight, self.masks(), self.bias, self.geometry)

    def auxiliary_loss(self) -> Tensor:
        """lambda times the orthogonality loss of the masks."""
        return self.ortho * orthogonality(self.masks())

    def after_step(self) -> None:
        """Update the proxies from the gradient that backward passes left, and forget it."""
        gradient = self.proxy.grad
        if gradient is None:
            return
        with paddle.no_grad():
            self.proxy.set_value((self.proxy - self.mask_lr * gradient).clip(0.0, 1.0))
        self.proxy.clear_gradient(set_to_zero=False)

    def frozen(self) -> PackedVersatileConv:
        """The same function with fixed masks, stored as packed bits."""
        return PackedVersatileConv(self)

    def deployed(self, after: Affine, form: str | None = None) -> nn.Layer:
        """The plain convolution with the masked filters; they are no longer made at each call, and cost no less."""
        masks = (self.proxy.numpy() > 0.5).astype(np.float32)
        filters = (self.weight.numpy() * masks).reshape([-1, *self.weight.shape[1:]])[: self.geometry.out_channels]
        return folded(conv_of(self.geometry, filters, None if self.bias is None else self.bias.numpy()), after)

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        plain = Cost.of(geometry, height, width)
        stored = ceil(geometry.out_channels / own.secondaries) * geometry.in_channels
        weights = stored * geometry.kernel_size[0] * geometry.kernel_size[1]
        return Cost(weights + geometry.bias * geometry.out_channels, plain.macs)


class PackedVersatileConv(nn.Layer):
    """A `MaskedVersatileConv` whose masks are fixed: eight of their bits in a byte, unpacked at each call."""

    def __init__(self, learned: MaskedVersatileConv):
        super().__init__()
        self.geometry, self.shape = learned.geometry, list(learned.proxy.shape)
        self.weight, self.bias = learned.weight, learned.bias
        self.register_buffer("bits", paddle.to_tensor(np.packbits(learned.proxy.numpy() > 0.5)))

    def masks(self) -> Tensor:
        """The binary masks [s, filters or 1, C_in, kh, kw]."""
        places = paddle.to_tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype="int32")
        bits = self.bits.astype("int32").unsqueeze(1) // places % 2
        return bits.flatten()[: int(np.prod(self.shape))].reshape(self.shape).astype(self.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return _convolved(x, self.weight, self.masks(), self.bias, self.geometry)


def freeze_masks(model: nn.Layer) -> nn.Layer:
    """`model` with every `MaskedVersatileConv` in it exchanged for its packed form."""
    learned = {id(place.layer): place.layer for place in walk(model) if isinstance(place.layer, MaskedVersatileConv)}
    packed = {key: layer.frozen() for key, layer in learned.items()}
    for key, layer in learned.items():
        fit_in(packed[key], layer.training, [layer.weight])
        hand_over_hooks([layer], packed[key])
    return exchange(model, packed)


def orthogonality(masks: Tensor) -> Tensor:
    """1/2 ||M^T M / n - I||^2 for masks [s, filters, ...], the mean over the filters."""
    columns = masks.flatten(2).transpose([1, 0, 2])
    overlaps = paddle.bmm(columns, columns.transpose([0, 2, 1])) / columns.shape[2]
    return (overlaps - paddle.eye(columns.shape[1])).square().sum([1, 2]).mean() / 2


def _convolved(x: Tensor, weight: Tensor, masks: Tensor, bias: Tensor | None, geometry: ConvGeometry) -> Tensor:
    filters = (weight * masks).flatten(0, 1)[: geometry.out_channels]
    padding = geometry.padding if isinstance(geometry.padding, str) else list(geometry.padding)
    return F.conv2d(x, filters, bias, geometry.stride, padding, geometry.dilation)
