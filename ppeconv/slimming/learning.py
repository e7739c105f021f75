"""Options fitted to what the trained network gives in a position, and what the loss rises by when one stands in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv import observe
from ppeconv.errors import UserError
from ppeconv.layers.statistics import measure_statistics
from ppeconv.slimming.images import Images
from ppeconv.slimming.kept import Kept
from ppeconv.slimming.options import Option
from ppeconv.slimming.positions import Position
from ppeconv.surgery.fitting import fit
from ppeconv.surgery.standing import Standing, in_order, standing

_ITERATIONS = 20
"""Of conjugate gradients: 60 take three times as long; already 15 come within 3 % of their rise of the loss."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""(what the network gives, labels) -> their loss, the mean over the images."""


@dataclass(frozen=True)
class Score:
    """Of a network on images."""

    loss: float
    top1: float
    """Share of the images; 0 for what gives no scores [N, classes]."""


@dataclass(frozen=True)
class Learned:
    """An option that was fitted in a position."""

    option: Option
    layer: nn.Layer
    error: float
    """Relative, on the images of the fit; see `Fit`."""
    rise: float
    """Of the loss on images held out, when it alone stands in."""


@contextmanager
def watched(
    model: nn.Layer, position: Position, batches: Sequence[Tensor]
) -> Iterator[tuple[tuple[list[Tensor], list[Tensor]], nn.Layer | None]]:
    """What goes into a position and comes out of it in the network, and the norm that alone reads it."""
    with _alone(model, position, batches) as (network, it):
        seen = it.seen(network, batches)
        yield (seen.inputs, seen.outputs), it.norm


def learn(
    model: nn.Layer,
    position: Position,
    options: Sequence[Option],
    images: Images,
    loss: Loss,
    start: Score,
    seed: int,
    kept: Kept,
) -> list[Learned]:
    """Fit options in a position, one after the other, and judge each; the network is as before then.

    Args:
        model: the trained network.
        position: where.
        options: what may stand there.
        images: of the fit, and those held out.
        loss: what is to rise little.
        start: of the trained network on the images held out.
        seed: of new weights and of the order of the images.
        kept: fits of before, which are not made again.
    """
    found = []
    with _alone(model, position, images.fitting) as (network, it):
        seen = None
        for option in options:
            layer = option.made(position, seed)
            known = kept.fit(position, option, layer)
            if known is None:
                seen = seen or it.seen(network, images.fitting)
                error = fit(layer, seen.inputs, seen.outputs, it.norm, iterations=_ITERATIONS, seed=seed).after
                known = error, _rise(network, it, layer, images, loss, start)
                kept.keep_fit(position, option, layer, *known)
            found.append(Learned(option, layer, *known))
    return found


@paddle.no_grad()
def score(model: nn.Layer, images: Images, loss: Loss | None = None) -> Score:
    """Loss and accuracy of a network on the images held out."""
    total, right, count = 0.0, 0, 0
    with observe.evaluating(model):
        for x, labels in images.held_out:
            output = model(x)
            value = (loss or cross_entropy)(output, labels)
            if value.size != 1:
                raise UserError(f"a loss is one number, the mean over the images; got one of shape {list(value.shape)}")
            total += float(value) * len(labels)
            if isinstance(output, Tensor) and output.ndim == 2:
                right += int((output.argmax(1, keepdim=True) == labels).sum())
            count += len(labels)
    return Score(total / count, right / count)


def cross_entropy(output: Tensor, labels: Tensor) -> Tensor:
    """Of scores [N, classes] and labels [N, 1], the mean."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= output.shape[1]:
        raise UserError(f"labels are from 0 to {output.shape[1] - 1} for this network; got some from {low} to {high}")
    return F.cross_entropy(output, labels)


@contextmanager
def _alone(model: nn.Layer, position: Position, batches: Sequence[Tensor]) -> Iterator[tuple[nn.Layer, Standing]]:
    """The network with a switch in a position, and what stands there."""
    with standing(model, [(position.site, nn.Identity())]) as (network, (it,)), observe.evaluating(network):
        in_order(network, [it], batches[0][:2])
        yield network, it


def _rise(network: nn.Layer, it: Standing, layer: nn.Layer, images: Images, loss: Loss, start: Score) -> float:
    """With a layer in the position; the norms behind it have the statistics that they then have."""
    norms = [norm for norm in network.sublayers() if isinstance(norm, nn.BatchNorm2D)]
    before = [(norm._mean.clone(), norm._variance.clone()) for norm in norms]
    it.last.new, it.last.on = layer, True
    layer.eval()
    try:
        measure_statistics(network, images.fitting, [it.last])
        return score(network, images, loss).loss - start.loss
    finally:
        it.last.on = False
        for norm, (mean, variance) in zip(norms, before, strict=True):
            norm._mean.set_value(mean)
            norm._variance.set_value(variance)
