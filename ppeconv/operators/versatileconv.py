"""VersatileConv: versatile filters in space and along the channels."""

from __future__ import annotations

from typing import Any, ClassVar

from ppeconv.domains import Count, Natural
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.channelversatileconv import refuse_slide
from ppeconv.operators.cost import Cost
from ppeconv.operators.versatile import FilterBank, Form, VersatileFilters, ring_count
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments


@OPERATORS.register(aliases=("Versatile",))
class VersatileConv(VersatileFilters):
    """Versatile filters in space and along the channels: s n uses of every stored filter.

        Y = concat_j concat_i(crop_i(f) * X[g j : g j + C_in - delta] + b_ji), i = 0..s-1, j = 0..n-1

    with s = ceil(k / 2) and n = delta / g + 1: `SpatialVersatileConv` and `ChannelVersatileConv` in one.

    Parameters: (C_in - delta) kh kw ceil(C_out / (s n)) (+ C_out with bias). MACs: sum_i (C_in - delta) (kh - 2i)
    (kw - 2i) m_i H' W', where m_i are the channels made with crop_i: C_out in s n shares as equal as can be.
    """

    class Arguments(OwnArguments):
        form: Form = "concat"
        """"concat", or "sum" over i."""
        delta: Natural = 1
        """input channels that a filter does not see."""
        channel_stride: Count = 1
        """g, which divides delta."""

    default_rules: ClassVar[dict[str, Any]] = {"min_kernel": 1}

    @classmethod
    def refuse(cls, geometry: ConvGeometry, own: Arguments) -> None:
        refuse_slide(cls.__name__, geometry, own.delta, own.channel_stride)

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        self.fill(_bank(geometry, own))

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        return _bank(geometry, own).cost(height, width)


def _bank(geometry: ConvGeometry, own: VersatileConv.Arguments) -> FilterBank:
    return FilterBank(geometry, ring_count(geometry.kernel_size), own.delta, own.channel_stride, own.form)
