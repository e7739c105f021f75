"""Images and labels that a Python program has itself, as a data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppeconv.data.datasets import Images
from ppeconv.data.inputs import Input, pixels
from ppeconv.errors import UserError
from ppeconv.registry import DATASETS

FORMS = "(images, labels), or an object with len() and [index] that gives (image, label)"


@DATASETS.register(name="Given")
class Absent:
    """Images and labels that a Python program gives to `ppeconv.Experiment(data=...)`."""

    has_test_images = True

    def __init__(self, root: str | Path, split: str):
        raise UserError(
            f"the {split} data of this config came from Python; give them again, ppeconv.Experiment(..., data=(train, "
            "test)), or name a data set: -o DataLoader.Eval.dataset.name=NAME, and the same for Train"
        )


class GivenSet:
    """Images and labels, or a data set of somebody else's.

    An image is a file, uint8 [H, W, 3] in the order RGB, grey [H, W] or [H, W, 1], or an image of Pillow; an array has
    several as [N, H, W, C] or [N, H, W]. Labels are integers from 0. A data set of somebody else's is gone through once
    for its labels.

    Args:
        source: `(images, labels)`, or an object with len() and [index] that gives `(image, label)`.
        what: what messages call it, such as "training".
        class_names: a name for each label; the labels themselves when not given.

    Raises:
        UserError: it is none of that.
    """

    numbered = False
    left_out = ""

    def __init__(self, source: Any, what: str, class_names: Sequence[str] | None = None):
        if isinstance(source, tuple) and len(source) == 2:
            images, labels = source
            self._images: Any = images if hasattr(images, "__getitem__") else list(images)
        elif hasattr(source, "__len__") and hasattr(source, "__getitem__") and not isinstance(source, np.ndarray):
            self._images = _ImagesOf(source)
            labels = [_pair(source[index], what)[1] for index in range(len(source))]
        else:
            raise UserError(f"{what} data are {FORMS}; got {_described(source)}")
        self.labels = _labels(labels, what)
        if len(self._images) != len(self.labels) or not len(self.labels):
            raise UserError(f"the {what} data have {len(self._images)} images and {len(self.labels)} labels")
        first = self._images[0]
        self.channels = 1 if _is_grey(first) else 3
        height, width, channels = pixels(first, self.channels).shape
        self.shape = height, width, channels
        if isinstance(self._images, np.ndarray):
            self._images = self._images.reshape(len(self._images), *self.shape)
        self.numbered = class_names is None
        self.class_names = list(class_names or map(str, range(self.labels.max() + 1)))

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: np.ndarray) -> Images:
        """The images at these positions."""
        if isinstance(self._images, np.ndarray):
            return self._images[indices]
        return [pixels(self._images[int(index)], self.channels) for index in indices]


class _ImagesOf:
    """The images of a data set of pairs."""

    def __init__(self, pairs: Any):
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Input:
        return self.pairs[index][0]


def given_sets(data: Any, class_names: Sequence[str] | None = None) -> dict[str, GivenSet]:
    """ "train" and "test" of `(training data, evaluation data)`."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise UserError(f"data are (training data, evaluation data), each {FORMS}; got {_described(data)}")
    return {"train": GivenSet(data[0], "training", class_names), "test": GivenSet(data[1], "evaluation", class_names)}


def _pair(item: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise UserError(f"the {what} data should give (image, label) for each index; got {_described(item)}")
    return item[0], item[1]


def _labels(values: Iterable[Any], what: str) -> np.ndarray:
    try:
        labels = np.asarray([np.asarray(value).reshape(()) for value in values])
    except ValueError:
        labels = np.zeros((1, 2))
    if not len(labels):
        return np.zeros(0, np.int64)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or (labels < 0).any():
        raise UserError(f"the {what} labels should be one integer from 0 for each image; got {_described(values)}")
    return labels.astype(np.int64)


def _is_grey(image: Input) -> bool:
    if isinstance(image, np.ndarray):
        return image.ndim == 2 or image.shape[2:] == (1,)
    return getattr(image, "mode", "RGB") in ("L", "1", "I;16")


def _described(value: Any) -> str:
    kind = type(value).__name__
    if hasattr(value, "shape"):
        return f"{kind} of {getattr(value, 'dtype', '')} {list(value.shape)}"
    return f"{kind} of {len(value)}" if hasattr(value, "__len__") else kind
