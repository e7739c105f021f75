"""Real images of a data set, as prediction sees them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ppeconv.data.batches import Batches, Pipeline
from ppeconv.data.datasets import DataSet
from ppeconv.engine.progress import reported

BATCH = 32


def plain_batches(
    dataset: DataSet, pipeline: Pipeline, seed: int = 0, count: int | None = None, head: str | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(images [N, C, H, W], labels [N]) of a data set, without augmentation.

    Args:
        dataset, pipeline: the images and their transforms.
        seed: of the choice of images.
        count: images to draw at random, rounded up to whole batches; not given, all in their order.
        head: how lines of progress begin; not given, there is no progress to be seen.
    """
    source = Batches(dataset, pipeline, BATCH, shuffle=count is not None, seed=seed)
    total = -(-count // BATCH) if count else len(source)
    drawn = source.epoch(stop=total)
    for images, labels in reported(drawn, total, head) if head else drawn:
        yield images.numpy(), labels.numpy()[:, 0]
