"""Training at several widths in one step, and what evaluation of a US-Net needs first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.anywidth import calibrate, set_width
from ppeconv.config import Config
from ppeconv.config.sections import AnyWidthSection
from ppeconv.data.batches import Batches
from ppeconv.engine.losses import auxiliary_loss
from ppeconv.engine.setup import make_batches
from ppeconv.engine.step import Backward, step_generator
from ppeconv.errors import UserError

SAMPLERS: dict[str, Callable[[np.random.Generator, AnyWidthSection], Sequence[float]]] = {
    "k-width": lambda rng, section: section.widths,
    "n-random": lambda rng, section: rng.uniform(section.min_width, 1, section.samples),
    "one-per-interval": lambda rng, section: (
        section.min_width + (1 - section.min_width) * (np.arange(section.samples) + rng.random(section.samples))
        / section.samples
    ),
    "sandwich": lambda rng, section: [
        1.0, section.min_width, *rng.uniform(section.min_width, 1, section.samples - 2)
    ],
}  # fmt: skip
"""The widths of one step: those of the config, drawn evenly from [min_width, 1], one from each of as many equal
intervals, or the widest, the narrowest and others drawn between them (arXiv 1903.05134)."""


class AnyWidthStep:
    """A forward and a backward pass at each width of the step, widest first; gradients add up.

    With `distill` only the widest learns from the labels, the others from its predictions in the same step (inplace
    distillation, arXiv 1903.05134). Random widths depend on the seed and the step alone.
    """

    def __init__(self, loss: nn.Layer, section: AnyWidthSection):
        self.loss, self.section = loss, section
        sandwich = section.sampling == "sandwich"
        if section.samples < (2 if sandwich else 1):
            raise UserError(f"AnyWidth.samples should be at least 2 for the sandwich rule; got {section.samples}")
        if section.kind == "snet" and section.sampling != "k-width":
            raise UserError(f"an S-Net has norms for its own widths only; AnyWidth.sampling is {section.sampling!r}")

    def __call__(self, model: nn.Layer, images: Tensor, labels: Tensor, backward: Backward) -> tuple[Tensor, Tensor]:
        widths = SAMPLERS[self.section.sampling](step_generator(), self.section)
        widest: tuple[Tensor, Tensor] | None = None
        for width in sorted(map(float, widths), reverse=True):
            with set_width(model, width):
                logits = model(images)
            if widest and self.section.distill:
                loss = F.cross_entropy(logits, F.softmax(widest[1].detach()), soft_label=True)
            else:
                loss = self.loss(logits, labels, images)
            loss = loss + auxiliary_loss(model)
            backward(loss)
            widest = widest or (loss, logits)
        return widest


def calibrate_for(model: nn.Layer, config: Config, widths: Sequence[float], batches: Batches | None = None) -> None:
    """Give a US-Net its statistics at these widths, from the first training images; other networks have theirs."""
    section = config.AnyWidth
    if section and section.kind == "usnet":
        batches = batches or make_batches(config, "train")
        enough = -(-section.calibration_images // batches.batch_size)
        calibrate(model, [images for images, _ in batches.epoch(stop=enough)], widths)
