"""Classification of images; of an exported network its folder is all that is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppeconv import backend
from ppeconv.data.batches import Pipeline
from ppeconv.data.found import images_of
from ppeconv.data.inputs import Input, as_list, name_of, pixels
from ppeconv.deployment.manifest import FILE, ClassifierManifest
from ppeconv.deployment.outputs import arrays
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


class Classifier:
    """Images in, classes out.

    An image is a file, or an array of uint8 from 0 to 255 in the order RGB, [H, W, 3], or grey, [H, W] or [H, W, 1]
    (OpenCV reads BGR: give `image[..., ::-1]`), or an image of Pillow; of any size.

    Args:
        runtime: float32 [N, C, H, W] -> [N, classes].
        pipeline: the transforms of an image.
        channels: of the images, 1 or 3.
        class_names: the network's classes.
    """

    def __init__(
        self,
        runtime: Callable[[np.ndarray], np.ndarray | list[np.ndarray]],
        pipeline: Pipeline,
        channels: int,
        class_names: Sequence[str],
    ):
        self.runtime, self.pipeline = runtime, pipeline
        self.channels, self.class_names = channels, class_names

    def predict(
        self,
        images: Input | Iterable[Input],
        topk: int = 5,
        batch_size: int = 32,
        unreadable: Callable[[UserError], None] | None = None,
    ) -> Iterator[Prediction]:
        """A Prediction for each image, in their order.

        Args:
            images: one or several, see the class.
            topk: classes of each.
            batch_size: images in a call of the network.
            unreadable: told of each image that cannot be read, which is then left out; not given, the error is raised.

        Raises:
            UserError: an image is none of what is understood.
        """
        if topk < 1 or batch_size < 1:
            raise UserError(f"topk and batch_size should be at least 1; got {topk} and {batch_size}")
        return self._predictions(as_list(images), topk, batch_size, unreadable)

    def probabilities(self, images: Input | Iterable[Input]) -> np.ndarray:
        """[N, classes] for one or several images, see the class."""
        return self._softmax([pixels(image, self.channels) for image in as_list(images)])

    def _predictions(
        self,
        images: Sequence[Input],
        topk: int,
        batch_size: int,
        unreadable: Callable[[UserError], None] | None,
    ) -> Iterator[Prediction]:
        for start in range(0, len(images), batch_size):
            names, readable = [], []
            for image in images[start : start + batch_size]:
                try:
                    readable.append(pixels(image, self.channels))
                    names.append(name_of(image))
                except UserError as error:
                    if unreadable is None:
                        raise
                    unreadable(error)
            for name, row in zip(names, self._softmax(readable), strict=True):
                best = np.argsort(-row, kind="stable")[:topk].tolist()
                yield Prediction(
                    name, best, [self.class_names[index] for index in best], [float(row[index]) for index in best]
                )

    def _softmax(self, images: list[np.ndarray]) -> np.ndarray:
        if not images:
            return np.zeros((0, len(self.class_names)), np.float32)
        (logits,) = arrays(self.runtime(self.pipeline(images)))
        self._check(logits)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def _check(self, logits: np.ndarray) -> None:
        """Raise a UserError where there is not a score for each class."""


class Predictor(Classifier):
    """An exported network that classifies images, see `Classifier`.

    Resizing and normalisation are done here as in the evaluation of the training.

    Args:
        folder: what `tools/export.py` wrote.
        threads, device, precision: see `Runtime`.
        runtime: the name of one; not given, the first that the folder holds.
        keep_freed_pages: have the whole process keep what memory it frees (glibc); fetching it anew took a tenth
            to a third of the time of a call (ResNet18 with SPConv, batch 64, runtime paddle).

    Raises:
        UserError: the folder is damaged, or what it says does not fit together.
    """

    def __init__(
        self,
        folder: str | Path,
        threads: int | None = None,
        device: str = "cpu",
        runtime: str | None = None,
        precision: str = "float32",
        keep_freed_pages: bool = False,
    ):
        if keep_freed_pages:
            backend.keep_freed_pages()
        self.folder = Path(folder).expanduser()
        manifest = ClassifierManifest.read(self.folder)
        self.input_shape = manifest.input_shape
        pipeline = _pipeline(manifest, self.folder)
        opened = open_runtime(self.folder, runtime, threads, device, precision)
        super().__init__(opened, pipeline, self.input_shape[0], manifest.class_names)

    def _check(self, logits: np.ndarray) -> None:
        if logits.shape[1:] != (len(self.class_names),):
            raise UserError(
                f"the network in {self.folder} has outputs of shape {list(logits.shape[1:])}, and its {FILE} names "
                f"{len(self.class_names)} classes; make it again with tools/export.py"
            )


def _pipeline(manifest: ClassifierManifest, folder: Path) -> Pipeline:
    """The transforms, tried on an image of the network's size."""
    channels, height, width = manifest.input_shape
    try:
        pipeline = Pipeline(manifest.transform_ops)
        shape = pipeline.output_shape([height, width, channels])
        if shape == manifest.input_shape:
            return pipeline
        problem = f"make images of {shape}"
    except (UserError, TypeError, ValueError, IndexError) as error:
        problem = f"do not work ({error})"
    raise UserError(
        f"{folder / FILE}: transform_ops {problem}, and input_shape is {manifest.input_shape}; make it again with "
        "tools/export.py"
    )


def find_images(patterns: Sequence[str]) -> list[Path]:
    """The image files that paths, folders (searched whole) and shell patterns mean."""
    return images_of(patterns).paths
