"""New layers of a network that start from the trained ones they stand in for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import paddle
from paddle import Tensor, nn

from ppeconv import observe
from ppeconv.errors import UserError
from ppeconv.layers.parameters import float_type
from ppeconv.layers.statistics import by_batch, measure_statistics
from ppeconv.surgery.fitting import Fit, fit
from ppeconv.surgery.sites import Site
from ppeconv.surgery.standing import in_order, standing, switched_on

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
    observe.require_fit(model, batches[0].shape[1:])
    fits: list[Fit | None] = [None] * len(places)
    changed: list[nn.Layer] = []
    with standing(model, places) as (network, sites), observe.evaluating(network):
        for it in in_order(network, sites, batches[0][:2]):
            targets = it.seen(network, batches).outputs
            with switched_on(sites, changed), by_batch(network, changed):
                inputs = it.seen(network, batches).inputs
            done = fits[sites.index(it)] = fit(it.new, inputs, targets, it.norm)
            if done.method != "exact":
                changed.append(it.last)
        if changed:
            with switched_on(sites, [it.last for it in sites]):
                measure_statistics(network, batches, changed)
    return fits


def as_batches(images: Images) -> list[Tensor]:
    """Images as tensors of a batch each."""
    if isinstance(images, (Tensor, np.ndarray)):
        images = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    given = list(images)
    if not given:
        raise UserError("init='from_dense' fits the new layers on images, and there is none among those given")
    return [_as_batch(batch) for batch in given]


def _as_batch(batch: Any) -> Tensor:
    if not isinstance(batch, (Tensor, np.ndarray)):
        raise UserError(f"images are an array [N, C, H, W] or batches of such, without labels; got {batch!r:.60}")
    if batch.ndim != 4:
        raise UserError(f"images are [N, C, H, W] or batches of such; got one of shape {list(batch.shape)}")
    tensor = paddle.to_tensor(batch, "float32")
    if not bool(paddle.isfinite(tensor).all()):
        raise UserError("images have finite numbers; among those given are NaN or infinite ones")
    return tensor
