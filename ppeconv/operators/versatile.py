"""Versatile filters: one stored filter used as several, each seeing less of space or of the channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.geometry import ConvGeometry
from ppeconv.layers.folding import Affine, conv_of, folded
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.parts import crop_or_pad, kernel_margin, split_evenly
from ppeconv.schema.declaration import Paper

Form = Literal["concat", "sum"]


class Secondary(NamedTuple):
    """One use of the primary filters: rings cut off around the kernel, first input channel, filters used."""

    ring: int
    start: int
    filters: int


@dataclass(frozen=True)
class FilterBank:
    """How the output channels are made of primary filters.

    `rings` is s, the kernels of each filter; `delta` channels are outside a filter, which moves by `channel_stride`
    channels.
    """

    geometry: ConvGeometry
    rings: int = 1
    delta: int = 0
    channel_stride: int = 1
    form: Form = "concat"

    @property
    def channels(self) -> int:
        """Input channels that a filter sees."""
        return self.geometry.in_channels - self.delta

    @property
    def primaries(self) -> int:
        """Filters that are stored."""
        return max(use.filters for use in self.uses())

    def uses(self) -> Iterator[Secondary]:
        """The secondary filters in the order of the output channels, which are shared out among them evenly."""
        starts = range(0, self.delta + 1, self.channel_stride)
        rings = range(self.rings if self.form == "concat" else 1)
        places = [(ring, start) for start in starts for ring in rings]
        for (ring, start), filters in zip(places, split_evenly(self.geometry.out_channels, len(places)), strict=True):
            if filters:
                yield Secondary(ring, start, filters)

    def kernel(self, ring: int) -> tuple[int, int]:
        """Sides of the kernel within `ring` rings."""
        rows, columns = self.geometry.kernel_size
        return rows - 2 * ring, columns - 2 * ring

    def cost(self, height: int, width: int) -> Cost:
        """Of a convolution with these filters."""
        pixels = self.geometry.output_size(height, width)
        rows, columns = self.geometry.kernel_size
        stored = self.primaries * self.channels * rows * columns
        macs = sum(Cost.conv(self.channels, use.filters, self.kernel(use.ring), pixels).macs for use in self.uses())
        return Cost(stored + self.geometry.bias * self.geometry.out_channels, macs)


def ring_count(kernel_size: tuple[int, int]) -> int:
    """s, the concentric kernels in one of that size."""
    return ceil(min(kernel_size) / 2)


class VersatileFilters(ConvOperator):
    """What the versatile operators share: secondary filters are slices of the stored ones; masks are never made.

    In any network the stored filters start with He's normal over the inputs of a whole filter, (C_in - delta) kh kw,
    as the plain convolution of the CIFAR ResNets does. Secondary filters see fewer, and their outputs start smaller.
    """

    papers = (
        Paper("Learning Versatile Filters for Efficient Convolutional Neural Networks", "NeurIPS 2018"),
        Paper("Learning Versatile Convolution Filters for Efficient Visual Recognition", arxiv="2109.09310"),
    )

    limits = ("dense", "fixed padding")
    forms: ClassVar[tuple[str, ...]] = ("separate", "merged")

    def fill(self, bank: FilterBank) -> None:
        """Make the filters of `bank`."""
        self.bank = bank
        self.uses = [(use, kernel_margin(bank.geometry, bank.kernel(use.ring))) for use in bank.uses()]
        shape = [bank.primaries, bank.channels, *bank.geometry.kernel_size]
        self.weight = self.create_parameter(shape, default_initializer=nn.initializer.KaimingNormal())
        if bank.geometry.bias:
            self.bias = self.create_parameter([bank.geometry.out_channels], is_bias=True)
        if bank.form == "sum":
            self.register_buffer("rings", _rings_at(bank.geometry.kernel_size), persistable=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.rings if self.bank.form == "sum" else self.weight
        outputs = [self._convolved(x, weight, use, margin) for use, margin in self.uses]
        y = outputs[0] if len(outputs) == 1 else paddle.concat(outputs, axis=1)
        return y + self.bias.reshape([1, -1, 1, 1]) if self.geometry.bias else y

    def deployed(self, after: Affine, form: str | None = None) -> nn.Layer:
        """Ordinary convolutions, see `DeployedVersatile`, or "merged" into one that has zeros for all that is not seen.

        Up to 16 channels the concatenation costs more than a host's MACs; there "merged" is the usual form.
        """
        narrow = self.geometry.in_channels <= 16
        merged = narrow if form is None else form == "merged"
        return self._merged(after) if merged else DeployedVersatile(self, after)

    def kernels(self) -> Iterator[tuple[Secondary, np.ndarray]]:
        """Each use of the stored filters, and its kernels [filters, channels, kh - 2 ring, kw - 2 ring]."""
        stored = self.weight.numpy()
        if self.bank.form == "sum":
            stored = stored * self.rings.numpy()
        for use, _ in self.uses:
            rows, columns = self.bank.kernel(use.ring)
            yield use, stored[: use.filters, :, use.ring : use.ring + rows, use.ring : use.ring + columns]

    def _merged(self, after: Affine) -> nn.Conv2D:
        geometry, whole = self.geometry, []
        for use, kernel in self.kernels():
            ends = use.start, geometry.in_channels - self.bank.channels - use.start
            whole.append(np.pad(kernel, [(0, 0), ends, (use.ring, use.ring), (use.ring, use.ring)]))
        bias = self.bias.numpy() if geometry.bias else None
        return folded(conv_of(geometry, np.concatenate(whole), bias), after)

    def _convolved(self, x: Tensor, weight: Tensor, use: Secondary, margin: tuple[int, int, int, int]) -> Tensor:
        rows, columns = self.bank.kernel(use.ring)
        seen = x[:, use.start : use.start + self.bank.channels]
        kernel = weight[: use.filters, :, use.ring : use.ring + rows, use.ring : use.ring + columns]
        return F.conv2d(
            crop_or_pad(seen, [min(side, 0) for side in margin]),
            kernel,
            stride=self.geometry.stride,
            padding=[max(side, 0) for side in margin],
            dilation=self.geometry.dilation,
        )


class DeployedVersatile(nn.Layer):
    """Versatile filters as ordinary convolutions, one for each kernel size, with the map behind in their weights.

    What is gained: no filter is cut out at each call, bias and norm are one addition, and filters of one kernel size
    that slide along the channels are one convolution, with zeros for the channels that a filter does not see; only
    where more than a fifth of its weights would be zeros they stay apart. The addition stays behind the concatenation:
    Paddle Inference 3.3.1 with oneDNN cannot load convolutions, a concatenation and a ReLU in direct succession.
    """

    def __init__(self, operator: VersatileFilters, after: Affine):
        super().__init__()
        bank = operator.bank
        bias = operator.bias.numpy() if bank.geometry.bias else np.zeros(bank.geometry.out_channels)
        together = bank.channels >= 0.8 * bank.geometry.in_channels
        parts: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = {}
        first = 0
        for use, kernel in operator.kernels():
            outputs, start = np.arange(first, first + use.filters), use.start
            if together:
                ends = (start, bank.geometry.in_channels - bank.channels - start)
                kernel, start = np.pad(kernel, [(0, 0), ends, (0, 0), (0, 0)]), 0
            parts.setdefault((use.ring, start), []).append((kernel, outputs))
            first += use.filters
        self.seen, self.cut, self.convs, places = [], [], nn.LayerList(), []
        for (ring, start), pieces in parts.items():
            kernel, outputs = (np.concatenate(values) for values in zip(*pieces, strict=True))
            top, bottom, left, right = kernel_margin(bank.geometry, bank.kernel(ring))
            geometry = replace(
                bank.geometry,
                in_channels=kernel.shape[1],
                out_channels=len(outputs),
                kernel_size=bank.kernel(ring),
                padding=(max(top, 0), max(bottom, 0), max(left, 0), max(right, 0)),
            )
            self.seen.append((start, start + kernel.shape[1]))
            self.cut.append([min(side, 0) for side in (top, bottom, left, right)])
            self.convs.append(folded(conv_of(geometry, kernel), after.linear().of(outputs)))
            places.append(outputs)
        order = np.argsort(np.concatenate(places))
        shift = (bias * after.scale + after.shift).reshape(1, -1, 1, 1)
        self.register_buffer("shift", paddle.to_tensor(shift, "float32"))
        self.inputs, in_order = bank.geometry.in_channels, np.array_equal(order, np.arange(len(order)))
        self.register_buffer("order", None if in_order else paddle.to_tensor(order))

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for index, (start, stop) in enumerate(self.seen):
            seen = x if stop - start == self.inputs else x[:, start:stop]
            outputs.append(self.convs[index](crop_or_pad(seen, self.cut[index])))
        y = outputs[0] if len(outputs) == 1 else paddle.concat(outputs, axis=1)
        return (y if self.order is None else y.index_select(self.order, 1)) + self.shift


def _rings_at(kernel_size: tuple[int, int]) -> Tensor:
    """How many concentric kernels hold each position: [kh, kw], 1 in the outermost ring."""
    rows, columns = (paddle.minimum(at, at.flip(0)) for at in (paddle.arange(1, side + 1) for side in kernel_size))
    return paddle.minimum(rows.unsqueeze(1), columns.unsqueeze(0)).astype(paddle.get_default_dtype())
