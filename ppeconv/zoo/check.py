"""Whether shipped weights still do what their record says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppeconv.counting import count
from ppeconv.engine.evaluator import evaluate
from ppeconv.engine.setup import select_backend
from ppeconv.errors import UserError
from ppeconv.experiment import Experiment
from ppeconv.pretrained.weights import PREFIX, Weights

TOLERANCE = 3e-4
"""By how much the accuracy may differ on another kind of CPU, whose sums are rounded otherwise."""


@dataclass(frozen=True)
class Check:
    """What was computed anew, beside the record."""

    weights: Weights
    params: int
    macs: int
    hits: int
    images: int

    @property
    def off(self) -> int:
        """Images by which the number of hits differs from the record's; 0 on the CPU kind of the training."""
        return self.hits - round(self.weights.top1 * self.images)

    @property
    def holds(self) -> bool:
        """Whether the counts are the record's, and the accuracy is within TOLERANCE."""
        counts = (self.params, self.macs) == (self.weights.params, self.weights.macs)
        return counts and abs(self.off) <= round(TOLERANCE * self.images)

    def __str__(self) -> str:
        """A line of a table."""
        return (
            f"{self.weights.name:<28} {self.params:>9,} parameters {self.macs:>12,} MACs   top-1 "
            f"{self.hits / self.images:.4f} of {self.images:,} images, recorded {self.weights.top1:.4f}: "
            f"{'equal' if not self.off else f'{self.off:+d} images'}{'' if self.holds else '   NOT the record'}"
        )


def check(weights: Weights) -> Check:
    """Load the weights, count the network and evaluate it on the whole test set, by the fast layers where there are.

    Raises:
        UserError: the file is damaged, or the test images on this machine are others than the record's.
    """
    experiment = Experiment.open(PREFIX + weights.name)
    parts, config = experiment.parts, experiment.config
    found = parts.images_digest("test")
    if found != weights.images_sha256:
        raise UserError(
            f"the test images on this machine are not those that {weights.name} was evaluated on, {weights.data}: "
            f"their SHA-256 is {found}, that of the record {weights.images_sha256}"
        )
    select_backend("auto", "cpu")
    counts = count(experiment.model, [1, *weights.image_shape])
    parts.calibrate(experiment.model, [1.0])
    confusion = evaluate(
        experiment.model, parts.batches("test"), parts.loss("Eval"), [1], config.Arch.class_num
    ).confusion
    return Check(weights, counts.params, counts.macs, int(np.trace(confusion)), int(confusion.sum()))
