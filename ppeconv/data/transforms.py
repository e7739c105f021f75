"""Transforms of whole batches, in numpy.

A transform maps uint8 images ([N, H, W, C], or a list of [H, W, C] of several sizes) and a table of random numbers to
images. The table, uniform in [0, 1) with `draws` columns for each transform, is all the randomness there is: a batch is
a pure function of its images and of the table, whoever computes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np

from ppeconv.data.datasets import Images
from ppeconv.data.images import resize
from ppeconv.domains import SOME, AreaRange, Aspect, AspectRange, Deviation, MapSize, Padding, Pixels, Probability
from ppeconv.errors import UserError
from ppeconv.registry import TRANSFORMS

Operation = Mapping[str, Mapping[str, Any] | None]
"""`{name: arguments}`."""
_LONGEST = 32
"""Times its short side, beyond which a long side is cut."""


class Transform:
    """A step from images to images; `draws` random numbers for each image."""

    draws: ClassVar[int] = 0
    follows_size: ClassVar[bool] = False
    """Whether a `size` that is not given is that of DataLoader.image_size."""

    def __call__(self, images: Images, random: np.ndarray) -> Images:
        raise TypeError(f"{type(self).__name__} defines no __call__()")


def sized(operations: Sequence[Operation], image_size: int | None) -> list[Operation]:
    """Operations with the sizes that they leave open: `image_size`, and 8/7 of it for a Resize before a CenterCrop."""
    if image_size is None:
        return list(operations)
    steps = [(TRANSFORMS.canonical(name), own or {}) for operation in operations for name, own in operation.items()]
    names = [name for name, _ in steps]

    def size(position: int) -> int | list[int]:
        if names[position] != "Resize":
            return image_size
        return round(image_size * 8 / 7) if "CenterCrop" in names[position:] else [image_size, image_size]

    return [
        {name: {"size": size(position), **own} if getattr(TRANSFORMS.get(name), "follows_size", False) else own}
        for position, (name, own) in enumerate(steps)
    ]


@TRANSFORMS.register
class Resize(Transform):
    """Resize to [height, width], or the short side to one number of pixels.

    Given one number, it keeps the middle alone of an image whose long side is more than 32 times its short one: the
    whole would be huge.

    Args:
        size: pixels of the short side, or [height, width]; that of DataLoader.image_size when not given.
    """

    follows_size = True

    def __init__(self, *, size: Pixels | MapSize | None = None):
        self.size = _given("Resize", size)

    def __call__(self, images: Images, random: np.ndarray) -> Images:
        middles = images if isinstance(self.size, list) else map(_middle, images)
        return _stacked([resize(image, *self._target(*image.shape[:2])) for image in middles])

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if isinstance(self.size, list):
            return self.size[0], self.size[1]
        scale = self.size / min(height, width)
        return max(self.size, round(height * scale)), max(self.size, round(width * scale))


@TRANSFORMS.register
class CenterCrop(Transform):
    """Cut size x size pixels from the middle; smaller images are enlarged first.

    Args:
        size: pixels; that of DataLoader.image_size when not given.
    """

    follows_size = True

    def __init__(self, *, size: Pixels | None = None):
        self.size = _given("CenterCrop", size)

    def __call__(self, images: Images, random: np.ndarray) -> Images:
        return _stacked([self._crop(image) for image in images])

    def _crop(self, image: np.ndarray) -> np.ndarray:
        if min(image.shape[:2]) < self.size:
            (image,) = Resize(size=self.size)([image], np.zeros((1, 0)))
        top, left = ((side - self.size) // 2 for side in image.shape[:2])
        return image[top : top + self.size, left : left + self.size]


@TRANSFORMS.register
class RandomResizedCrop(Transform):
    """Cut a rectangle of random area and aspect and resize it to size x size pixels.

    Args:
        size: pixels of a side of the result; that of DataLoader.image_size when not given.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest width / height.
    """

    draws = 4
    follows_size = True

    def __init__(
        self, *, size: Pixels | None = None, scale: AreaRange = (0.08, 1.0), ratio: AspectRange = (3 / 4, 4 / 3)
    ):
        self.size, self.scale, self.ratio = _given("RandomResizedCrop", size), scale, ratio

    def __call__(self, images: Images, random: np.ndarray) -> Images:
        return np.stack([self._crop(image, *row) for image, row in zip(images, random, strict=True)])

    def _crop(self, image: np.ndarray, area: float, aspect: float, down: float, right: float) -> np.ndarray:
        height, width = image.shape[:2]
        area = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
        aspect = self.ratio[0] * (self.ratio[1] / self.ratio[0]) ** aspect
        rows = min(height, max(1, round((area / aspect) ** 0.5)))
        columns = min(width, max(1, round((area * aspect) ** 0.5)))
        top, left = int(down * (height - rows + 1)), int(right * (width - columns + 1))
        return resize(np.ascontiguousarray(image[top : top + rows, left : left + columns]), self.size, self.size)


@TRANSFORMS.register
class RandomCrop(Transform):
    """Pad every side with black pixels and cut size x size pixels at a random place.

    Args:
        size: pixels; that of DataLoader.image_size when not given.
    """

    draws = 2
    follows_size = True

    def __init__(self, *, size: Pixels | None = None, padding: Padding = 0):
        self.size, self.padding = _given("RandomCrop", size), padding

    def __call__(self, images: Images, random: np.ndarray) -> Images:
        images, border, side = _same_size("RandomCrop", images), self.padding, self.size
        places = [length + 2 * border - side + 1 for length in images.shape[1:3]]
        if min(places) < 1:
            raise UserError(
                f"RandomCrop of {side} pixels needs larger images than {images.shape[1:3]} with a padding of {border}"
            )
        first = (random * places).astype(np.int64) - border  # outside the image where negative
        begin, end = np.maximum(first, 0), np.minimum(first + side, images.shape[1:3])
        bounds = np.concatenate([begin, end, begin - first, end - first], 1).tolist()
        out = np.zeros((len(images), side, side, images.shape[3]), images.dtype)
        for cut, image, (top, left, bottom, right, *place) in zip(out, images, bounds, strict=True):
            cut[place[0] : place[2], place[1] : place[3]] = image[top:bottom, left:right]
        return out


@TRANSFORMS.register
class RandomHorizontalFlip(Transform):
    """Mirror an image left to right with probability `prob`."""

    draws = 1

    def __init__(self, *, prob: Probability = 0.5):
        self.prob = prob

    def __call__(self, images: Images, random: np.ndarray) -> Images:
        flip = random[:, 0] < self.prob
        if isinstance(images, list):
            return [image[:, ::-1] if mirrored else image for image, mirrored in zip(images, flip, strict=True)]
        images = images.copy()
        images[flip] = images[flip, :, ::-1]
        return images


@TRANSFORMS.register
class RandomErasing(Transform):
    """Blacken a random rectangle, arXiv 1708.04896.

    Args:
        prob: share of the images that lose one.
        scale: smallest and largest share of the image's area.
        ratio: smallest height / width; the largest is its inverse.
    """

    draws = 5

    def __init__(self, *, prob: Probability = 0.5, scale: AreaRange = (0.02, 0.33), ratio: Aspect = 0.3):
        self.prob, self.scale, self.ratio = prob, scale, ratio

    def __call__(self, images: Images, random: np.ndarray) -> Images:
        return _stacked([self._erase(image, *row) for image, row in zip(images, random, strict=True)])

    def _erase(
        self, image: np.ndarray, chance: float, area: float, aspect: float, down: float, right: float
    ) -> np.ndarray:
        if chance >= self.prob:
            return image
        height, width = image.shape[:2]
        area = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
        aspect = self.ratio ** (1 - 2 * aspect)
        rows, columns = min(height, round((area * aspect) ** 0.5)), min(width, round((area / aspect) ** 0.5))
        top, left = int(down * (height - rows + 1)), int(right * (width - columns + 1))
        image = image.copy()
        image[top : top + rows, left : left + columns] = 0
        return image


@TRANSFORMS.register
class Normalize(Transform):
    """To float32 [N, C, H, W]: divide by 255, subtract each channel's mean and divide by its standard deviation."""

    def __init__(self, *, mean: Annotated[list[Probability], SOME], std: Annotated[list[Deviation], SOME]):
        if len(mean) != len(std):
            raise UserError(f"Normalize needs as many std as mean; got mean {mean} and std {std}")
        self.mean, self.std = np.array(mean, np.float32), np.array(std, np.float32)

    def __call__(self, images: Images, random: np.ndarray) -> np.ndarray:
        images = _same_size("Normalize", images)
        if images.shape[3] != len(self.mean):
            raise UserError(f"Normalize has {len(self.mean)} channels, the images have {images.shape[3]}")
        planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))  # moving bytes is cheaper than moving floats
        out = np.multiply(planes, (1 / (255 * self.std))[:, None, None], dtype=np.float32)
        out -= (self.mean / self.std)[:, None, None]
        return out


def _given(name: str, size: Any) -> Any:
    if size is None:
        raise UserError(f"{name}.size is required where DataLoader.image_size is not given; set one of them")
    return size


def _middle(image: np.ndarray) -> np.ndarray:
    """The image, or its middle where it is so long that its short side's size would make it huge."""
    height, width = image.shape[:2]
    rows, columns = min(height, _LONGEST * width), min(width, _LONGEST * height)
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(image[top : top + rows, left : left + columns])


def _same_size(name: str, images: Images) -> np.ndarray:
    images = _stacked(images)
    if isinstance(images, list):
        sizes = sorted({image.shape[:2] for image in images})
        raise UserError(
            f"{name} needs images of one size, got {sizes[0]} and {sizes[-1]}; put a Resize to [height, "
            "width], a CenterCrop or a RandomResizedCrop before it"
        )
    return images


def _stacked(images: Images) -> Images:
    if isinstance(images, list) and len({image.shape for image in images}) == 1:
        return np.stack(images)
    return images
