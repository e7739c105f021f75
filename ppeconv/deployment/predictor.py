"""Classification of images with an exported network; the exported folder is all it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppeconv.data.batches import Pipeline
from ppeconv.data.found import images_of
from ppeconv.data.images import read_image
from ppeconv.deployment.export import FORMAT
from ppeconv.deployment.facts import read_facts
from ppeconv.deployment.precision import Precision
from ppeconv.deployment.runtime import PREFIX
from ppeconv.deployment.runtimes import open_runtime
from ppeconv.errors import UserError


@dataclass
class Prediction:
    """The best classes of one image, best first."""

    file: str
    class_ids: list[int]
    class_names: list[str]
    scores: list[float]
    """Softmax probabilities."""


class Predictor:
    """Image files or arrays in, classes out.

    Args:
        folder: what `tools/export.py` wrote.
        threads, device, precision: see `PaddleRuntime`.
        runtime: one of RUNTIMES; not given, the first of these that the folder holds.
    """

    def __init__(
        self,
        folder: str | Path,
        threads: int | None = None,
        device: str = "cpu",
        runtime: str | None = None,
        precision: Precision = "float32",
    ):
        self.folder = Path(folder)
        keys = "input_shape", "class_names", "transform_ops"
        facts = read_facts(self.folder / f"{PREFIX}.yml", FORMAT, keys, "an exported model", "tools/export.py")
        self.input_shape: list[int] = facts["input_shape"]
        self.class_names: list[str] = facts["class_names"]
        self.pipeline = Pipeline(facts["transform_ops"])
        self.runtime = open_runtime(self.folder, runtime, threads, device, precision)

    def predict(
        self, images: Sequence[str | Path | np.ndarray], topk: int = 5, batch_size: int = 32
    ) -> Iterator[Prediction]:
        """A Prediction for each image file or uint8 [H, W, C] array, in their order."""
        if topk < 1 or batch_size < 1:
            raise UserError(f"topk and batch_size should be at least 1; got {topk} and {batch_size}")
        for start in range(0, len(images), batch_size):
            chunk = images[start : start + batch_size]
            scores = self.probabilities([self._pixels(image) for image in chunk])
            for image, row in zip(chunk, scores, strict=True):
                best = np.argsort(-row, kind="stable")[:topk].tolist()
                name = "" if isinstance(image, np.ndarray) else str(image)
                yield Prediction(
                    name, best, [self.class_names[index] for index in best], [float(row[index]) for index in best]
                )

    def probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """[N, classes] for uint8 [H, W, C] images of any size."""
        logits = self.runtime(self.pipeline(list(images)))
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def _pixels(self, image: str | Path | np.ndarray) -> np.ndarray:
        return image if isinstance(image, np.ndarray) else read_image(image, self.input_shape[0])


def find_images(patterns: Sequence[str]) -> list[Path]:
    """The image files that paths, folders (searched whole) and shell patterns mean."""
    return images_of(patterns).paths
