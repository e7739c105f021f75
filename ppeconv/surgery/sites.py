"""Where an operator may go: single convolutions, and pairs of a depthwise convolution and the 1x1 after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from paddle import nn

from ppeconv.geometry import ConvGeometry
from ppeconv.layers.walk import walk
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.recalibration.base import Recalibration

CLOSED = ConvOperator, Recalibration
"""Kinds of layers whose insides are their own affair."""


@dataclass
class Site:
    """A place where an operator goes: the convolution it replaces and the layers it makes superfluous."""

    path: str
    geometry: ConvGeometry
    layers: list[nn.Layer]
    superfluous: list[nn.Layer] = field(default_factory=list)
    own: Any = None
    """The operator's arguments at this place."""

    @property
    def succession(self) -> list[nn.Layer]:
        """All the layers, in the order in which they run."""
        return [self.layers[0], *self.superfluous, *self.layers[1:]]

    def plain_cost(self, height: int, width: int) -> Cost:
        """Of the convolutions as they are."""
        cost = Cost()
        for conv in self.layers:
            geometry = ConvGeometry.of_layer(conv)
            cost += Cost.of(geometry, height, width)
            height, width = geometry.output_size(height, width)
        return cost


def sites(model: nn.Layer, paired: bool) -> Iterator[Site]:
    """Every convolution once, in the order of registration; with `paired`, depthwise and 1x1 as one site."""
    partner = pairs(model) if paired else {}
    taken = {id(site.layers[-1]) for site in partner.values()}
    for place in walk(model, CLOSED):
        conv = place.layer
        if not isinstance(conv, nn.Conv2D) or id(conv) in taken:
            continue
        taken.add(id(conv))
        if id(conv) in partner:
            yield replace(partner[id(conv)], path=place.path)
        else:
            yield Site(place.path, ConvGeometry.of_layer(conv), [conv])


def pairs(model: nn.Layer) -> dict[int, Site]:
    """Depthwise convolution, norm and activation, 1x1: found where an `nn.Sequential` guarantees that order."""
    found = {}
    for sequence in (place.layer for place in walk(model, CLOSED) if _is_sequence(place.layer)):
        chain = list(_flatten(sequence))
        for start, depthwise in enumerate(chain):
            between: list[nn.Layer] = []
            for follower in chain[start + 1 :] if _is_depthwise(depthwise) else []:
                if _is_pointwise(follower, depthwise._out_channels):
                    merged = replace(
                        ConvGeometry.of_layer(depthwise),
                        out_channels=follower._out_channels,
                        groups=1,
                        bias=follower.bias is not None,
                    )
                    found[id(depthwise)] = Site("", merged, [depthwise, follower], between)
                if not isinstance(follower, (nn.BatchNorm2D, *_ACTIVATIONS)):
                    break
                between.append(follower)
    return found


_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.Hardswish, nn.Swish, nn.Silu, nn.GELU, nn.Identity)


def _is_sequence(layer: nn.Layer) -> bool:
    return isinstance(layer, nn.Sequential) and type(layer).forward is nn.Sequential.forward


def _flatten(layer: nn.Layer) -> Iterator[nn.Layer]:
    for child in layer.children():
        if _is_sequence(child):
            yield from _flatten(child)
        else:
            yield child


def _is_depthwise(layer: nn.Layer) -> bool:
    return type(layer) is nn.Conv2D and ConvGeometry.of_layer(layer).depthwise


def _is_pointwise(layer: nn.Layer, channels: int) -> bool:
    if type(layer) is not nn.Conv2D:
        return False
    geometry = ConvGeometry.of_layer(layer)
    return geometry == ConvGeometry(channels, geometry.out_channels, (1, 1), bias=geometry.bias)
