"""Step strategies that train on mixtures of two images of the batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from ppeconv.domains import BetaShape
from ppeconv.engine.losses import CombinedLoss, auxiliary_loss
from ppeconv.engine.step import Backward, step_generator
from ppeconv.registry import MIXTURES


class Mixture(ABC):
    """Mixes images with those of another order; Beta(alpha, alpha) draws the share that an image keeps."""

    def __init__(self, *, alpha: BetaShape = 1.0):
        self.alpha = alpha

    @abstractmethod
    def __call__(self, images: Tensor, others: Tensor, rng: np.random.Generator) -> tuple[Tensor, float]:
        """The mixed images and the share of the first in them."""


@MIXTURES.register
class Mixup(Mixture):
    """A weighted mean of two images, arXiv 1710.09412."""

    def __call__(self, images: Tensor, others: Tensor, rng: np.random.Generator) -> tuple[Tensor, float]:
        share = float(rng.beta(self.alpha, self.alpha))
        return share * images + (1 - share) * others, share


@MIXTURES.register
class CutMix(Mixture):
    """A rectangle of another image pasted in, arXiv 1905.04899."""

    def __call__(self, images: Tensor, others: Tensor, rng: np.random.Generator) -> tuple[Tensor, float]:
        height, width = images.shape[2:]
        side = (1 - rng.beta(self.alpha, self.alpha)) ** 0.5
        middle = rng.random(2) * (height, width)
        top, bottom = np.clip([middle[0] - side * height / 2, middle[0] + side * height / 2], 0, height).astype(int)
        left, right = np.clip([middle[1] - side * width / 2, middle[1] + side * width / 2], 0, width).astype(int)
        inside = np.zeros((1, 1, height, width), "float32")
        inside[..., top:bottom, left:right] = 1
        mask = paddle.to_tensor(inside)
        return images * (1 - mask) + others * mask, 1 - float(inside.mean())


class Mixed:
    """Trains every batch on one of several mixtures, chosen at random; the loss is weighted by the shares."""

    def __init__(self, loss: CombinedLoss, entries: Sequence[Mapping[str, Mapping[str, Any] | None]]):
        self.loss = loss
        self.mixtures = [
            MIXTURES.create(name, **(arguments or {})) for entry in entries for name, arguments in entry.items()
        ]

    def __call__(self, model: nn.Layer, images: Tensor, labels: Tensor, backward: Backward) -> tuple[Tensor, Tensor]:
        rng = step_generator()
        order = paddle.to_tensor(rng.permutation(len(images)))
        mixture = self.mixtures[rng.integers(len(self.mixtures))]
        mixed, share = mixture(images, images[order], rng)
        with self.loss.watching(model):
            logits = model(mixed)
            loss = share * self.loss(logits, labels, mixed) + (1 - share) * self.loss(logits, labels[order], mixed)
        loss = loss + auxiliary_loss(model)
        backward(loss)
        return loss, logits
