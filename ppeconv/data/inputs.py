"""What Python gives as images: files, arrays, images of Pillow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ppeconv.data.images import picture_pixels, read_image
from ppeconv.errors import UserError

Input = str | Path | np.ndarray | Image.Image
"""A file; uint8 [H, W, 3] in the order RGB, [H, W, 1] or [H, W]; or an image of Pillow."""


def as_list(images: Input | Iterable[Input]) -> Sequence[Input]:
    """Several images; a single one as a list of one. An array of four axes holds [N, H, W, C]."""
    if isinstance(images, (str, Path, Image.Image)) or (isinstance(images, np.ndarray) and images.ndim < 4):
        return [images]
    if not isinstance(images, Iterable) or hasattr(images, "stop_gradient"):
        raise UserError(f"images are files, arrays or images of Pillow, or a list of them; got a {_type(images)}")
    return images if isinstance(images, Sequence) else list(images)


def name_of(image: Input) -> str:
    """The file's name, "" where there is none."""
    return str(image) if isinstance(image, (str, Path)) else str(getattr(image, "filename", ""))


def pixels(image: Input, channels: int) -> np.ndarray:
    """uint8 [H, W, channels], with 1 (grey) or 3 (RGB); grey becomes RGB of equal parts, RGB becomes its brightness.

    Raises:
        UserError: the file cannot be read, or the array is none of the forms of `Input`.
    """
    if isinstance(image, (str, Path)):
        return read_image(image, channels)
    if isinstance(image, Image.Image):
        return _of_picture(image, channels)
    if not isinstance(image, np.ndarray):
        raise UserError(f"an image is a file, a numpy array or an image of Pillow; got a {_type(image)}")
    _check(image)
    if image.ndim == 2 or image.shape[2] == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), channels, axis=2)
    return image if channels == 3 else picture_pixels(Image.fromarray(image), channels)


def _of_picture(image: Image.Image, channels: int) -> np.ndarray:
    try:
        return picture_pixels(image, channels)
    except OSError as error:  # Pillow reads a file when its pixels are asked for
        raise UserError(f"{name_of(image) or 'the image'} cannot be read as an image: {error}") from None


def _check(image: np.ndarray) -> None:
    shape = list(image.shape)
    if image.size == 0:
        raise UserError(f"the image is empty: its shape is {shape}")
    if image.dtype != np.uint8:
        raise UserError(
            f"an image's values are uint8 from 0 to 255; got {image.dtype}{_range(image)}; give it as it was before "
            "any normalisation, for values from 0 to 1 (image * 255).round().astype('uint8')"
        )
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3)):
        return
    advice = "give [H, W, 3] in the order RGB, or grey as [H, W] or [H, W, 1]; several as a list or [N, H, W, C]"
    if image.ndim == 3 and image.shape[0] in (1, 3):
        advice = "this looks like [C, H, W]; give [H, W, C], image.transpose(1, 2, 0)"
    elif image.ndim == 3 and image.shape[2] == 4:
        advice = "with transparency, give the file or Pillow's image, PIL.Image.fromarray(image)"
    raise UserError(f"got an image of shape {shape}; {advice}")


def _range(image: np.ndarray) -> str:
    return f" from {image.min():.4g} to {image.max():.4g}" if image.dtype.kind in "fiu" else ""


def _type(value: Any) -> str:
    return type(value).__name__
