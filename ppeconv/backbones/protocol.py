"""What a backbone may offer besides its forward, and the one place that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Protocol, cast

from paddle import Tensor, nn


class Backbone(Protocol):
    """A network of images [N, C, H, W] -> class scores [N, class_num]; any `nn.Layer` is one.

    Whatever stands here is optional, and what a network leaves out is as written here. All but `stages` are class
    attributes.
    """

    image_shape: tuple[int, int, int] | None = None
    """[channels, height, width] of the images that it is made for; taken where no input size is given."""
    init: str = "paddle"
    """How its weights start: a key of `ppeconv.backbones.initial.RULES`."""
    head: str | None = None
    """The attribute that holds its classifier, which feature maps do without."""
    stages: Callable[[Tensor], list[Tensor]] | None = None
    """Images -> the output of each stage, finest first. With `head`, `create_model(..., features=True)` takes it."""
    whole_outputs: Sequence[str] = ()
    """Shell patterns of paths of layers whose outputs an any-width network of it never cuts, but for kind "awn"."""
    imagenet_weights: str | None = None
    """The key under which `paddle.vision` has weights whose names and shapes are those of this network at width 1."""


_OFFERS = {name: getattr(Backbone, name) for name in Backbone.__annotations__}


def offers(network: nn.Layer | type[nn.Layer]) -> Backbone:
    """What a network, or its class, offers; the defaults of `Backbone` where it says nothing."""
    return cast(Backbone, SimpleNamespace(**{name: getattr(network, name, value) for name, value in _OFFERS.items()}))
