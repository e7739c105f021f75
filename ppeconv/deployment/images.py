"""Real images of a run's data set, as prediction sees them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ppeconv.config import Config
from ppeconv.data.batches import Batches, Pipeline
from ppeconv.deployment.preprocessing import prediction_facts
from ppeconv.engine.progress import reported
from ppeconv.engine.setup import open_dataset
from ppeconv.errors import UserError

CALIBRATION_IMAGES = 256
BATCH = 32


def batches(
    config: Config, split: str, count: int | None = None, head: str | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(images [N, C, H, W], labels [N]) of "train" or "test", without augmentation.

    Args:
        count: images to draw at random, rounded up to whole batches; not given, all in their order.
        head: how lines of progress begin; not given, there is no progress to be seen.
    """
    pipeline = Pipeline(prediction_facts(config)["transform_ops"])
    source = Batches(open_dataset(config, split), pipeline, BATCH, shuffle=count is not None, seed=config.Global.seed)
    total = -(-count // BATCH) if count else len(source)
    drawn = source.epoch(stop=total)
    for images, labels in reported(drawn, total, head) if head else drawn:
        yield images.numpy(), labels.numpy()[:, 0]


def some_test_images(config: Config) -> np.ndarray | None:
    """A batch of the test images, or None where the data set is not on this machine."""
    try:
        return next(batches(config, "test", BATCH), (None, None))[0]
    except UserError:
        return None
