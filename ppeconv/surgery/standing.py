"""Places of a network at which old layers and a new one stand, of which one runs: what goes in and what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import paddle
from paddle import Tensor, nn

from ppeconv.layers.statistics import measures
from ppeconv.layers.walk import exchange
from ppeconv.surgery.sites import CLOSED, Site


class _Switch(nn.Layer):
    """An old layer and what takes its place: one of them runs."""

    def __init__(self, old: nn.Layer, new: nn.Layer):
        super().__init__()
        self.old, self.new, self.on = old, new, False

    def forward(self, *inputs: Any) -> Any:
        return (self.new if self.on else self.old)(*inputs)


class _Enough(Exception):
    """All that was wanted of a pass has been seen."""


@dataclass
class Seen:
    """What went into a place and came out of it."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


class Standing:
    """A place in a network at which the old layers and the new one can run.

    Args:
        site: the place.
        new: the layer that takes it; it runs where the last of the old ones does.
    """

    def __init__(self, site: Site, new: nn.Layer):
        self.new = new
        self.switches = {id(old): _Switch(old, nn.Identity()) for old in site.succession[:-1]}
        self.last = self.switches[id(site.layers[-1])] = _Switch(site.layers[-1], new)
        self.first = self.switches[id(site.layers[0])]
        self.calls = 0
        """In a pass; 0 where the network does not run it."""
        self.norm: nn.Layer | None = None
        """The batch norm that alone reads its output."""

    @paddle.no_grad()
    def seen(self, model: nn.Layer, batches: Sequence[Tensor]) -> Seen:
        """What goes in and comes out, a tensor for each call; nothing behind it is run."""
        seen, left = Seen(), 0

        def before(layer: nn.Layer, inputs: Any) -> None:
            seen.inputs.append(inputs[0])

        def after(layer: nn.Layer, inputs: Any, output: Any) -> None:
            nonlocal left
            seen.outputs.append(output)
            left -= 1
            if not left:
                raise _Enough

        with ExitStack() as undo:
            undo.callback(self.first.register_forward_pre_hook(before).remove)
            undo.callback(self.last.register_forward_post_hook(after).remove)
            for images in batches:
                left = self.calls
                with suppress(_Enough):
                    model(images)
        return seen


@contextmanager
def standing(model: nn.Layer, places: Sequence[tuple[Site, nn.Layer]]) -> Iterator[tuple[nn.Layer, list[Standing]]]:
    """The network with switches at some places, all off, and what stands there; the network as it was after the block.

    Args:
        model: the network.
        places: where, and the new layer.
    """
    found = [Standing(site, layer) for site, layer in places]
    switches = {key: switch for it in found for key, switch in it.switches.items()}
    model = exchange(model, switches, CLOSED)
    try:
        yield model, found
    finally:
        exchange(model, {id(switch): switch.old for switch in switches.values()}, CLOSED)


@paddle.no_grad()
def in_order(model: nn.Layer, sites: Sequence[Standing], images: Tensor) -> list[Standing]:
    """The places that run, in that order; each learns how often, and what norm reads it."""
    order: list[Standing] = []
    given: dict[int, Standing] = {}
    outputs: list[Tensor] = []  # held, so that no other one has its id
    readers: dict[int, set[int]] = {}

    def note(it: Standing) -> Any:
        def after(layer: nn.Layer, inputs: Any, output: Any) -> None:
            if it not in order:
                order.append(it)
            it.calls += 1
            outputs.append(output)
            given[id(output)] = it

        return after

    def read(layer: nn.Layer, inputs: Any) -> None:
        it = given.get(id(inputs[0])) if inputs else None
        if it is not None:
            readers.setdefault(id(it), set()).add(id(layer))
            it.norm = layer if measures(layer) and len(readers[id(it)]) == 1 else None

    with ExitStack() as undo:
        for it in sites:
            undo.callback(it.last.register_forward_post_hook(note(it)).remove)
        for layer in model.sublayers():
            undo.callback(layer.register_forward_pre_hook(read).remove)
        model(images)
    return order


@contextmanager
def switched_on(sites: Sequence[Standing], last: Sequence[nn.Layer]) -> Iterator[None]:
    """The new layers run at the places whose last switches are named."""
    switches = [switch for it in sites if it.last in last for switch in it.switches.values()]
    for switch in switches:
        switch.on = True
    try:
        yield
    finally:
        for switch in switches:
            switch.on = False
