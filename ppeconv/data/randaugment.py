"""RandAugment for uint8 images, with Pillow.

Paper: RandAugment: Practical automated data augmentation with a reduced search space, arXiv 1909.13719.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from pydantic import Field

from ppeconv.data.datasets import Images
from ppeconv.data.transforms import Transform
from ppeconv.registry import TRANSFORMS

_MOST = 30
_MAX_OPERATIONS = 4
Operations = Annotated[int, Field(ge=1, le=_MAX_OPERATIONS)]
Magnitude = Annotated[int, Field(ge=0, le=_MOST)]


@TRANSFORMS.register
class RandAugment(Transform):
    """`num` random operations of strength `magnitude` on each image.

    Args:
        num: operations in a row, 1 to 4.
        magnitude: 0 to 30; geometric operations get a random sign.
    """

    draws = 2 * _MAX_OPERATIONS

    def __init__(self, *, num: Operations = 2, magnitude: Magnitude = 9):
        self.num, self.level = num, magnitude / _MOST

    def __call__(self, images: Images, random: np.ndarray) -> Images:
        augmented = [self._augment(image, row) for image, row in zip(images, random, strict=True)]
        return augmented if isinstance(images, list) else np.stack(augmented)

    def _augment(self, image: np.ndarray, random: np.ndarray) -> np.ndarray:
        grey = image.shape[2] == 1
        picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if grey else image))
        for choice, sign in random[: 2 * self.num].reshape(-1, 2):
            operation = _OPERATIONS[int(choice * len(_OPERATIONS))]
            picture = operation(picture, self.level, 1 if sign < 0.5 else -1)
        return np.asarray(picture).reshape(image.shape)


def _affine(matrix: Callable[[float, Image.Image], tuple[float, ...]]) -> Callable:
    def apply(image: Image.Image, level: float, sign: int) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, matrix(level * sign, image))

    return apply


def _enhance(kind: Callable) -> Callable:
    return lambda image, level, sign: kind(image).enhance(1 + 0.9 * level * sign)


_OPERATIONS: tuple[Callable[[Image.Image, float, int], Image.Image], ...] = (
    lambda image, level, sign: image,
    lambda image, level, sign: ImageOps.autocontrast(image),
    lambda image, level, sign: ImageOps.equalize(image),
    lambda image, level, sign: ImageOps.posterize(image, 8 - round(4 * level)),
    lambda image, level, sign: ImageOps.solarize(image, round(256 * (1 - level))),
    lambda image, level, sign: image.rotate(30 * level * sign),
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Color),
    _enhance(ImageEnhance.Contrast),
    _enhance(ImageEnhance.Sharpness),
    _affine(lambda level, image: (1, 0.3 * level, 0, 0, 1, 0)),
    _affine(lambda level, image: (1, 0, 0, 0.3 * level, 1, 0)),
    _affine(lambda level, image: (1, 0, 0.45 * level * image.width, 0, 1, 0)),
    _affine(lambda level, image: (1, 0, 0, 0, 1, 0.45 * level * image.height)),
)
