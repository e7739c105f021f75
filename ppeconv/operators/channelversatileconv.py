"""ChannelVersatileConv: versatile filters along the channels."""

from __future__ import annotations

from typing import Any, ClassVar

from ppeconv.domains import Count, Natural
from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.cost import Cost
from ppeconv.operators.versatile import FilterBank, VersatileFilters
from ppeconv.registry import OPERATORS
from ppeconv.schema.declaration import OwnArguments


@OPERATORS.register(aliases=("ChannelVersatile",))
class ChannelVersatileConv(VersatileFilters):
    """Channel versatile filters: a filter of C_in - delta channels slides along the input channels with stride g.

        Y = concat_j(f * X[g j : g j + C_in - delta] + b_j), j = 0..n-1, n = delta / g + 1

    Parameters: (C_in - delta) kh kw ceil(C_out / n) (+ C_out with bias). MACs: (C_in - delta) kh kw C_out H' W'.

    Departures: exactly C_out channels where n does not divide it; the filters hold no channel that is never used
    (those of the published code do).
    """

    class Arguments(OwnArguments):
        delta: Natural = 1
        """input channels that a filter does not see; 0 is the plain convolution."""
        channel_stride: Count = 1
        """g, which divides delta."""

    default_rules: ClassVar[dict[str, Any]] = {"min_kernel": 1}

    @classmethod
    def refuse(cls, geometry: ConvGeometry, own: Arguments) -> None:
        refuse_slide(cls.__name__, geometry, own.delta, own.channel_stride)

    def build(self, geometry: ConvGeometry, own: Arguments) -> None:
        self.fill(FilterBank(geometry, delta=own.delta, channel_stride=own.channel_stride))

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Arguments) -> Cost:
        return FilterBank(geometry, delta=own.delta, channel_stride=own.channel_stride).cost(height, width)


def refuse_slide(name: str, geometry: ConvGeometry, delta: int, channel_stride: int) -> None:
    """Raise `Unsupported` unless a filter can slide like that."""
    if delta >= geometry.in_channels:
        raise Unsupported(f"{name} needs a delta below the {geometry.in_channels} input channels; got {delta}")
    if delta % channel_stride:
        raise Unsupported(f"{name} needs a channel_stride that divides delta={delta}; got {channel_stride}")
