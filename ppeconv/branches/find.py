"""The residual blocks of any network, and the channels inside their branches that nothing else reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from ppeconv import observe
from ppeconv.anywidth.groups import ChannelGroups, follow
from ppeconv.errors import UserError
from ppeconv.layers.parameters import NORMS, float_type, own_parameters
from ppeconv.layers.shortcut import ShortcutA
from ppeconv.layers.walk import walk
from ppeconv.surgery.images import usual_shape
from ppeconv.surgery.sites import CLOSED

_FOLLOWED = nn.Conv2D, nn.Linear, nn.BatchNorm1D, nn.BatchNorm2D, ShortcutA


@dataclass
class InnerChannels:
    """All that one convolution writes, where only norms, depthwise and dense convolutions of its block read it."""

    writer: nn.Conv2D
    norms: list[nn.Layer] = field(default_factory=list)
    depthwise: list[nn.Conv2D] = field(default_factory=list)
    readers: list[nn.Conv2D] = field(default_factory=list)

    @property
    def layers(self) -> list[nn.Layer]:
        """All of them."""
        return [self.writer, *self.norms, *self.depthwise, *self.readers]


@dataclass
class ResidualBlock:
    """A layer in whose own forward a branch is added to a shortcut."""

    path: str
    layer: nn.Layer
    in_shape: tuple[int, ...]
    """[C, H, W] of what goes in,"""
    out_shape: tuple[int, ...]
    """and of what comes out."""
    is_identity: bool
    """Whether the shortcut is what goes in, as it is."""
    inner: list[InnerChannels] = field(default_factory=list)


def residual_blocks(model: nn.Layer, input_size: Sequence[int] | None = None) -> list[ResidualBlock]:
    """The residual blocks in the order of registration.

    A block is a layer, run once, that takes one feature map and in whose own forward two feature maps are added: the
    innermost one of those that hold each other. Shortcuts and inner channels are found by running the network, so that
    any way of writing a block will do.

    Args:
        model: any network.
        input_size: [N, C, H, W] of the images; the network's usual size when not given.
    """
    size = [1, *(list(input_size)[-3:] if input_size else usual_shape(model))]
    added = _Additions(model, size).found
    blocks = [added[id(place.layer)] for place in walk(model, CLOSED) if id(place.layer) in added]
    for inner in _inner_channels(model, size) if blocks else ():
        home = [block for block in blocks if _holds(block.layer, inner.layers)]
        if home and not _holds_others(home[-1].layer):
            home[-1].inner.append(inner)
    return blocks


class _Additions:
    """Runs a network and notes in which layers feature maps are added."""

    def __init__(self, model: nn.Layer, size: Sequence[int]):
        self.running: list[tuple[nn.Layer, Tensor]] = []
        self.calls: dict[int, int] = {}
        self.met: dict[int, bool] = {}
        """Layer that adds -> whether one of the two is what went into it."""
        self.found: dict[int, ResidualBlock] = {}
        places = {id(place.layer): place for place in walk(model, CLOSED)}
        inside = [it.layer for it in places.values() if it.path and not isinstance(it.layer, CLOSED)]
        with ExitStack() as undo:
            for layer in inside:
                undo.callback(layer.register_forward_pre_hook(self._enter).remove)
                undo.callback(layer.register_forward_post_hook(self._leave).remove)
            undo.enter_context(observe.stock(model))
            undo.enter_context(observe.operations(self._watched))
            with paddle.no_grad():
                model(paddle.zeros(list(size), float_type(model)))
        for key in [key for key, times in self.calls.items() if times > 1]:
            self.found.pop(key, None)
        for key, block in self.found.items():
            block.path = places[key].path

    def _enter(self, layer: nn.Layer, inputs: Any) -> None:
        self.calls[id(layer)] = self.calls.get(id(layer), 0) + 1
        self.running.append((layer, inputs[0] if len(inputs) == 1 else None))

    def _leave(self, layer: nn.Layer, inputs: Any, output: Any) -> None:
        _, given = self.running.pop()
        if id(layer) in self.met and layer._sub_layers and _is_map(given) and _is_map(output):
            shapes = tuple(given.shape[1:]), tuple(output.shape[1:])
            is_identity = self.met[id(layer)] and shapes[0] == shapes[1]
            self.found[id(layer)] = ResidualBlock("", layer, *shapes, is_identity)

    def _watched(self, name: str, operation: Callable) -> Callable:
        def add(x: Any, y: Any, *others: Any, **settings: Any) -> Any:
            if self.running and _is_map(x) and _is_map(y) and x.shape == y.shape:
                layer, given = self.running[-1]
                self.met[id(layer)] = self.met.get(id(layer), False) or x is given or y is given
            return operation(x, y, *others, **settings)

        return add if name.rstrip("_") == "add" else operation


def _inner_channels(model: nn.Layer, size: Sequence[int]) -> Iterator[InnerChannels]:
    """Those of the whole network; none where its channels cannot be followed."""
    names: dict[nn.Layer, str] = {}
    for place in walk(model, CLOSED):
        if type(place.layer) in _FOLLOWED:
            names.setdefault(place.layer, place.path)
    try:
        _, found, outputs = follow(model, names, size)
    except UserError:
        return
    given_out = set(np.concatenate(outputs).tolist())
    for writer, numbers in found.made.items():
        if isinstance(writer, nn.Conv2D) and not given_out & set(numbers.tolist()) and not found.meets(numbers):
            inner = _read_by(writer, numbers, found)
            if inner and inner.readers:
                yield inner


def _read_by(writer: nn.Conv2D, numbers: np.ndarray, found: ChannelGroups) -> InnerChannels | None:
    """The channels of a layer with all that reads them; None where something reads a part, or is of another kind."""
    inner = InnerChannels(writer)
    for layer, reads in found.reads.items():
        if not np.isin(reads, numbers).any():
            continue
        if not np.array_equal(reads, numbers):
            return None
        if isinstance(layer, nn.BatchNorm2D):
            inner.norms.append(layer)
        elif isinstance(layer, nn.Conv2D) and layer._groups == 1:
            inner.readers.append(layer)
        elif isinstance(layer, nn.Conv2D) and layer._groups == layer._in_channels == layer._out_channels:
            inner.depthwise.append(layer)
        else:
            return None
    return inner


def _holds(block: nn.Layer, layers: Sequence[nn.Layer]) -> bool:
    inside = {id(layer) for layer in block.sublayers()}
    return all(id(layer) in inside for layer in layers)


def _holds_others(block: nn.Layer) -> bool:
    """Whether a layer of another kind in it has parameters, which may be as many as there are channels."""
    return any(
        own_parameters(layer) and type(layer) not in _FOLLOWED and not isinstance(layer, NORMS)
        for layer in block.sublayers(include_self=True)
    )


def _is_map(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4
