"""Evaluation of a network over a whole data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppeconv.data.batches import Batches
from ppeconv.engine import distributed, interrupt
from ppeconv.engine.progress import reported
from ppeconv.errors import UserError


@dataclass
class Evaluation:
    """Result over all images."""

    loss: float
    topk: dict[int, float]
    """Share of images whose label is among the k best, for each k asked for; k is clipped to the class count."""
    confusion: np.ndarray
    """[classes, classes] counts: row the label, column the prediction."""
    unreadable: list[str] = field(default_factory=list)
    """What is wrong with each image that could not be read and was left out."""

    @property
    def top1(self) -> float:
        """Share of images classified correctly."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def top5(self) -> float | None:
        """The top-5 share, of fewer than 5 where there are fewer classes; None when no top-k but 1 was asked for."""
        return self.topk.get(min(5, len(self.confusion)))

    @property
    def per_class(self) -> np.ndarray:
        """[classes] accuracy of each class; NaN where it has no image."""
        with np.errstate(invalid="ignore"):
            return np.diag(self.confusion) / self.confusion.sum(1)

    def summary(self) -> str:
        """One line."""
        shares = [f"top1: {self.top1:.5f}"] + [f"top{k}: {share:.5f}" for k, share in self.topk.items() if k > 1]
        return ", ".join([*shares, f"loss: {self.loss:.5f}"])


def evaluate(
    model: nn.Layer, batches: Batches, loss: nn.Layer, topk: Sequence[int], class_num: int, head: str | None = None
) -> Evaluation:
    """Run the network in eval mode over every batch of every process and leave its mode as it was.

    Args:
        model, batches, loss: what is evaluated.
        topk: the k of the top-k accuracies.
        class_num: number of classes.
        head: how lines of progress begin, such as `[Eval][Epoch 3]`; not given, there is no progress to be seen.
    """
    training = model.training
    model.eval()
    total, confusion = 0.0, np.zeros((class_num, class_num), np.int64)
    hits: Any = np.zeros(len(topk), np.int64)
    with paddle.no_grad(), interrupt.waiting():
        for images, labels in reported(batches.epoch(), len(batches), head) if head else batches.epoch():
            if not len(labels):  # none of them could be read
                continue
            logits = model(images)
            total += float(loss(logits, labels, images)) * len(labels)
            best = paddle.topk(logits, min(max(1, *topk), class_num))[1].numpy()
            truth = labels.numpy()
            np.add.at(confusion, (truth[:, 0], best[:, 0]), 1)
            hits += [(best[:, :k] == truth).any(1).sum() for k in topk]
            if distributed.size() == 1:  # several end together, at the next step
                interrupt.check()
    if training:
        model.train()
    total, *hits = distributed.add_up([total, *hits])
    confusion = distributed.add_up(confusion).astype(np.int64)
    count = int(confusion.sum())
    if not count:
        raise UserError(f"none of the {len(batches.dataset)} images can be read")
    shares = {k: float(hit / count) for k, hit in zip(topk, hits, strict=True)}
    unreadable = [batches.unreadable[position] for position in sorted(batches.unreadable)]
    return Evaluation(float(total / count), shares, confusion, unreadable)
