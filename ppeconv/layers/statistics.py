"""The statistics of batch norms: which there are, and measuring them anew while a network runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import paddle
from paddle import Tensor, nn

from ppeconv.layers.parameters import NORMS

KEEP = 1.0
"""The share of the old statistics after a batch that leaves them as they are."""


def measures(norm: nn.Layer) -> bool:
    """Whether a layer is a batch norm whose statistics come from the batches; those of a frozen one do not."""
    return isinstance(norm, NORMS) and not norm._use_global_stats


def measuring_norms(model: nn.Layer) -> list[Any]:
    """The batch norms of a network that measure."""
    return [layer for layer in model.sublayers(include_self=True) if measures(layer)]


def running_statistics(model: nn.Layer) -> list[Tensor]:
    """Means and variances of the batch norms that update them in training."""
    return [value for norm in measuring_norms(model) for value in (norm._mean, norm._variance)]


@contextmanager
def by_batch(
    model: nn.Layer, behind: Collection[nn.Layer] | None = None, share: Callable[[], float] = lambda: KEEP
) -> Iterator[None]:
    """Inside the block, batch norms of a network in eval mode normalise by the batch, as in training.

    Args:
        model: the network.
        behind: only norms that run after one of these layers; all when not given.
        share: of the old statistics in the new ones, asked for at each call of a norm.
    """
    reached = behind is None

    def begin(layer: nn.Layer, inputs: Any) -> None:
        nonlocal reached
        reached = behind is None

    def reach(layer: nn.Layer, inputs: Any, output: Any) -> None:
        nonlocal reached
        reached = True

    def before(norm: nn.Layer, inputs: Any) -> None:
        norm.training, norm._momentum = reached, share()

    def after(norm: nn.Layer, inputs: Any, output: Any) -> None:
        norm.training = False

    norms = measuring_norms(model)
    momenta = [norm._momentum for norm in norms]
    with ExitStack() as undo:
        undo.callback(model.register_forward_pre_hook(begin).remove)
        for layer in behind or ():
            undo.callback(layer.register_forward_post_hook(reach).remove)
        for norm in norms:
            undo.callback(norm.register_forward_pre_hook(before).remove)
            undo.callback(norm.register_forward_post_hook(after).remove)
        try:
            yield
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm._momentum, norm.training = momentum, False


@paddle.no_grad()
def measure_statistics(model: nn.Layer, batches: Iterable[Tensor], behind: Collection[nn.Layer] | None = None) -> None:
    """Give the batch norms of a network in eval mode the mean of the statistics that they have on some batches."""
    seen = 0
    with by_batch(model, behind, lambda: seen / (seen + 1)):
        for images in batches:
            model(images)
            seen += 1
