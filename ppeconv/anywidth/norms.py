"""Batch norms at any width: one for all widths, one for each, or one whose statistics are measured afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.anywidth.channels import Layout, Selection, take
from ppeconv.anywidth.layers import AnyWidthLayer
from ppeconv.errors import UserError
from ppeconv.layers.handover import hand_over


class SharedBatchNorm(nn.BatchNorm2D, AnyWidthLayer):
    """Batch norm of the active channels, with the same parameters and statistics at every width, as AWN has.

    [N, active channels, ...] -> the same. Takes over the parameters of `norm`, an `nn.BatchNorm1D` or `2D`.
    """

    def __init__(self, norm: nn.BatchNorm1D | nn.BatchNorm2D, layout: Layout):
        super().__init__(len(layout), norm._momentum, norm._epsilon, use_global_stats=norm._use_global_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self._mean, self._variance = norm._mean, norm._variance
        self.plain_type = getattr(norm, "plain_type", type(norm))
        self.lay_out(layout, layout)

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.statistics()
        if not self.training or self.active[1] is None:
            return self.normalised(x, mean, variance, self.training)
        mean, variance = mean.clone(), variance.clone()  # the gradient needs them as they are after the update
        result = self.normalised(x, mean, variance, True)
        _put(self._mean, self.active[1], mean)
        _put(self._variance, self.active[1], variance)
        return result

    def normalised(self, x: Tensor, mean: Tensor, variance: Tensor, training: bool) -> Tensor:
        """Batch norm of the active channels; while training it blends the batch into `mean` and `variance`."""
        settings = {"momentum": self._momentum, "epsilon": self._epsilon, "use_global_stats": self._use_global_stats}
        return F.batch_norm(x, mean, variance, *self.affine(), training, **settings)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of the active channels."""
        return take(self._mean, self.active[1]), take(self._variance, self.active[1])

    def affine(self) -> list[Tensor | None]:
        """Scale and shift of the active channels."""
        return [None if value is None else take(value, self.active[1]) for value in (self.weight, self.bias)]

    def active_params(self) -> int:
        return sum(math.prod(value.shape) for value in self.affine() if value is not None)

    def plain(self) -> nn.BatchNorm1D | nn.BatchNorm2D:
        values = [*self.statistics(), *self.affine()]
        attributes = [None if value is not None else False for value in values[2:]]
        settings = {"use_global_stats": self._use_global_stats}
        norm = self.plain_type(values[0].shape[0], self._momentum, self._epsilon, *attributes, **settings)
        hand_over([self], norm)
        for own, value in zip((norm._mean, norm._variance, norm.weight, norm.bias), values, strict=True):
            if value is not None:
                own.set_value(value)
        return norm


class PrivateBatchNorm(AnyWidthLayer):
    """A batch norm for each trained width, as S-Net has; each begins as the first channels of `norm`.

    [N, active channels, ...] -> the same. At a width between them the next wider one serves, cut to the active
    channels. Source: arXiv 1812.08928, which knows no other widths than the trained ones; its code has one norm for all
    widths behind a convolution whose outputs stay whole, here that too has one for each.
    """

    def __init__(self, norm: nn.BatchNorm1D | nn.BatchNorm2D, layout: Layout, widths: Sequence[float]):
        super().__init__()
        self.widths = sorted(widths)
        shared = SharedBatchNorm(norm, layout)
        self.norms = nn.LayerList()
        for width in self.widths:
            shared.set_width(width)
            self.norms.append(SharedBatchNorm(shared.plain(), layout.narrowed(width)))
        self.lay_out(layout, layout)

    @property
    def present(self) -> SharedBatchNorm:
        """The norm of the present width."""
        return self.norms[next(index for index, width in enumerate(self.widths) if width >= self.width)]

    def set_width(self, width: float) -> None:
        super().set_width(width)
        self.present.set_width(width)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.width not in self.widths:
            raise UserError(f"an S-Net is trained at its own widths {self.widths}; got {self.width:g}")
        return self.present(x)

    def active_params(self) -> int:
        return self.present.active_params()

    def plain(self) -> nn.BatchNorm1D | nn.BatchNorm2D:
        return self.present.plain()


class CalibratedBatchNorm(SharedBatchNorm):
    """Batch norm with shared scale and shift whose statistics are measured after training, as US-Net has.

    While training it normalises by the batch and keeps nothing; afterwards `calibrate` measures mean and variance for
    each width that is used. Those of width 1 are in the state dict. Source: arXiv 1903.05134.
    """

    def __init__(self, norm: nn.BatchNorm1D | nn.BatchNorm2D, layout: Layout):
        super().__init__(norm, layout)
        self.measured = {1.0: (self._mean, self._variance)}
        self.mode: Literal["use", "measure", "batch"] = "use"
        """In eval mode: use measured statistics, measure those of the batch first, or use those of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.measured = {}
        if self.training or self.mode == "batch":
            unused = paddle.zeros([2, x.shape[1]], self._mean.dtype)
            return self.normalised(x, unused[0], unused[1], True)
        if self.mode == "measure":
            self._measure(x)
        return self.normalised(x, *self.statistics(), False)

    def statistics(self) -> tuple[Tensor, Tensor]:
        if self.width not in self.measured:
            raise UserError(
                f"this US-Net has no statistics at width {self.width:g} yet; measure them with "
                "anywidth.calibrate(model, images, widths)"
            )
        return self.measured[self.width]

    def _measure(self, x: Tensor) -> None:
        axes = [0, *range(2, x.ndim)]
        mean = x.mean(axes, keepdim=True)
        mean, variance = mean.flatten(), (x - mean).square().mean(axes)
        if self.width == 1:
            self._mean.set_value(mean)
            self._variance.set_value(variance)
            mean, variance = self._mean, self._variance
        self.measured[self.width] = mean, variance


def _put(target: Tensor, active: Selection, values: Tensor) -> None:
    """Write the active entries back."""
    with paddle.no_grad():
        target[slice(active) if isinstance(active, int) else active] = values
