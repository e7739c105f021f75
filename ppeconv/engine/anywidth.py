"""Training at several widths in one step, and what evaluation of a US-Net needs first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.anywidth import calibrate, set_width
from ppeconv.data.batches import Batches
from ppeconv.engine.losses import auxiliary_loss
from ppeconv.engine.step import Backward, step_generator
from ppeconv.errors import UserError


@dataclass(frozen=True)
class Widths:
    """Which widths a step trains: those listed, or random ones from [min_width, 1]."""

    widths: Sequence[float] = (1.0, 0.75, 0.5, 0.25)
    min_width: float = 0.25
    samples: int = 4
    """Widths of a step with random ones."""


SAMPLERS: dict[str, Callable[[np.random.Generator, Widths], Iterable[float]]] = {
    "k-width": lambda rng, of: of.widths,
    "n-random": lambda rng, of: rng.uniform(of.min_width, 1, of.samples),
    "one-per-interval": lambda rng, of: (
        of.min_width + (1 - of.min_width) * (np.arange(of.samples) + rng.random(of.samples)) / of.samples
    ),
    "sandwich": lambda rng, of: [1.0, of.min_width, *rng.uniform(of.min_width, 1, of.samples - 2)],
}
"""The widths of one step: those of the config, drawn evenly from [min_width, 1], one from each of as many equal
intervals, or the widest, the narrowest and others drawn between them (arXiv 1903.05134)."""


class AnyWidthStep:
    """A forward and a backward pass at each width of the step, widest first; gradients add up.

    Random widths depend on the seed and the step alone.

    Args:
        loss: called as those of `ppeconv.engine.losses`.
        kind: of the network, see `ppeconv.anywidth.make_anywidth`.
        sampling: one of SAMPLERS.
        distill: only the widest learns from the labels, the others from its predictions in the same step (inplace
            distillation, arXiv 1903.05134).
        widths: what `Widths` takes.
    """

    def __init__(
        self, loss: nn.Layer, *, kind: str = "awn", sampling: str = "k-width", distill: bool = False, **widths: Any
    ):
        self.loss, self.sampling, self.distill, self.widths = loss, sampling, distill, Widths(**widths)
        samples = self.widths.samples
        if samples < (2 if sampling == "sandwich" else 1):
            raise UserError(f"AnyWidth.samples should be at least 2 for the sandwich rule; got {samples}")
        if kind == "snet" and sampling != "k-width":
            raise UserError(f"an S-Net has norms for its own widths only; AnyWidth.sampling is {sampling!r}")

    def __call__(self, model: nn.Layer, images: Tensor, labels: Tensor, backward: Backward) -> tuple[Tensor, Tensor]:
        widths = SAMPLERS[self.sampling](step_generator(), self.widths)
        widest: Any = None
        for width in sorted(map(float, widths), reverse=True):
            with set_width(model, width):
                logits = model(images)
            if widest and self.distill:
                loss = F.cross_entropy(logits, F.softmax(widest[1].detach()), soft_label=True)
            else:
                loss = self.loss(logits, labels, images)
            loss = loss + auxiliary_loss(model)
            backward(loss)
            widest = widest or (loss, logits)
        return widest


def calibrate_on(model: nn.Layer, batches: Batches, images: int, widths: Sequence[float]) -> None:
    """Give a US-Net its statistics at these widths, from about so many of the first images."""
    enough = -(-images // batches.batch_size)
    calibrate(model, [batch for batch, _ in batches.epoch(stop=enough) if len(batch)], widths)
