"""Images that a network runs on, as far as it tells."""

from __future__ import annotations

from paddle import nn

from ppeconv.backbones.protocol import offers
from ppeconv.operators.base import ConvOperator


def image_channels(network: nn.Layer) -> int:
    """Input channels of a network's first convolution."""
    first = next(layer for layer in network.sublayers() if isinstance(layer, (nn.Conv2D, ConvOperator)))
    return first._in_channels if isinstance(first, nn.Conv2D) else first.geometry.in_channels


def usual_shape(network: nn.Layer) -> list[int]:
    """[channels, height, width] of the images that it is made for; 64 x 64 where it does not say."""
    _, height, width = offers(network).image_shape or (3, 64, 64)
    return [image_channels(network), height, width]
