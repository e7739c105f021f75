"""New layers of a network that start from the trained ones they stand in for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import paddle
from paddle import Tensor, nn

from ppeconv import observe
from ppeconv.errors import UserError
from ppeconv.layers.parameters import float_type
from ppeconv.layers.statistics import by_batch, measure_statistics, measures
from ppeconv.layers.walk import exchange
from ppeconv.surgery.fitting import Fit, fit
from ppeconv.surgery.sites import CLOSED, Site

BATCH = 32
"""Images that run at once, where an array of them is given."""

Images: TypeAlias = "Tensor | np.ndarray | Iterable[Tensor | np.ndarray]"
"""[N, C, H, W], or batches of such."""


def warm_start(model: nn.Layer, places: Sequence[tuple[Site, nn.Layer]], images: Images) -> list[Fit | None]:
    """Fit new layers to those they are going to replace; the network stays as it is.

    The layers are fitted in the order in which they run: each to what the old one gives in the old network, from what
    it will be given by the new ones before it, behind batch norms that normalise by the batch. At the end the batch
    norms behind changed layers have the statistics of the new network on these images.

    Args:
        model: the trained network.
        places: where, and the new layer.
        images: real ones, transformed as in evaluation; batches are also those of the fit, see `fit`.

    Returns:
        For each place how near the new layer came; None where the network does not run it.
    """
    batches = as_batches(images)
    if float_type(model) != paddle.float32:
        raise UserError(f"init='from_dense' fits networks in float32; this one is in {float_type(model)}")
    sites = [_Standing(site, layer) for site, layer in places]
    switches = {key: switch for it in sites for key, switch in it.switches.items()}
    model = exchange(model, switches, CLOSED)
    fits: list[Fit | None] = [None] * len(sites)
    changed: list[nn.Layer] = []
    try:
        with observe.evaluating(model):
            for it in _in_order(model, sites, batches[0][:2]):
                targets = it.seen(model, batches).outputs
                with _switched_on(sites, changed), by_batch(model, changed):
                    inputs = it.seen(model, batches).inputs
                done = fits[sites.index(it)] = fit(it.new, inputs, targets, it.norm)
                if done.method != "exact":
                    changed.append(it.last)
            if changed:
                with _switched_on(sites, [it.last for it in sites]):
                    measure_statistics(model, batches, changed)
    finally:
        exchange(model, {id(switch): switch.old for switch in switches.values()}, CLOSED)
    return fits


def as_batches(images: Images) -> list[Tensor]:
    """Images as tensors of a batch each."""
    if isinstance(images, (Tensor, np.ndarray)):
        images = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    given = list(images)
    if not given:
        raise UserError("init='from_dense' fits the new layers on images, and there is none among those given")
    batches = [paddle.to_tensor(batch, "float32") for batch in given]
    wrong = next((batch for batch in batches if batch.ndim != 4), None)
    if wrong is not None:
        raise UserError(f"images are [N, C, H, W] or batches of such; got one of shape {list(wrong.shape)}")
    return batches


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
class _Seen:
    """What went into a place and came out of it."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


class _Standing:
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
    def seen(self, model: nn.Layer, batches: Sequence[Tensor]) -> _Seen:
        """What goes in and comes out, a tensor for each call; nothing behind it is run."""
        seen, left = _Seen(), 0

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


@paddle.no_grad()
def _in_order(model: nn.Layer, sites: Sequence[_Standing], images: Tensor) -> list[_Standing]:
    """The places that run, in that order; each learns how often, and what norm reads it."""
    order: list[_Standing] = []
    given: dict[int, _Standing] = {}
    outputs: list[Tensor] = []  # held, so that no other one has its id
    readers: dict[int, set[int]] = {}

    def note(it: _Standing) -> Any:
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
def _switched_on(sites: Sequence[_Standing], last: Sequence[nn.Layer]) -> Iterator[None]:
    """The new layers run at the places whose last switches are named."""
    switches = [switch for it in sites if it.last in last for switch in it.switches.values()]
    for switch in switches:
        switch.on = True
    try:
        yield
    finally:
        for switch in switches:
            switch.on = False
