"""Reading image files: the one place where files become pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from ppeconv import files
from ppeconv.errors import UserError

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PICTURES = "JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF"
_ORIENTATION, _BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 274, 258, 262, 0  # TIFF tags, and a value of the last


@cache
def _formats() -> list[str]:
    """Of the formats that Pillow knows those that are pictures alone: PostScript is a program, which it would run."""
    Image.init()
    return [name for name in _PICTURES if name in Image.OPEN]


def read_image(path: str | Path, channels: int = 3) -> np.ndarray:
    """An image file as uint8 [H, W, channels], with 1 (grey) or 3 (RGB) channels, turned as its EXIF tag says.

    What is transparent lies over white. Grey of 16 bits is scaled from its range (0 to 65,535; in a TIFF what its bits
    hold), of floats from 0 to 1. Of several frames the first is taken.

    Raises:
        UserError: no such file, no regular file, a damaged one, or pixels of which black and white are not known
            (integers of 32 bits, floats outside 0 to 1).
    """
    with _opened(path) as image:
        return picture_pixels(image, channels)


def picture_pixels(image: Image.Image, channels: int = 3) -> np.ndarray:
    """An image of Pillow, likewise."""
    image.load()  # only then does a TIFF know its size
    if image.mode == "F" or image.mode.startswith("I"):
        return np.repeat(_grey_levels(image)[..., None], channels, 2)
    flat, mode = _over_white(_upright(image)), "RGB" if channels == 3 else "L"
    pixels = np.asarray(flat if flat.mode == mode else flat.convert(mode))
    return pixels.reshape(*pixels.shape[:2], channels)


def image_problem(path: str | Path) -> str:
    """Why the file cannot be read as an image, as a sentence; "" when it can."""
    try:
        with _opened(path) as image:
            image.draft("RGB", (32, 32))  # a JPEG is read to its end, but scaled down on the way
            picture_pixels(image)
    except UserError as error:
        return str(error)
    return ""


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [H, W, C] at another size, bilinear with antialiasing."""
    if image.shape[:2] == (height, width):
        return image
    grey = image.shape[2] == 1
    picture = Image.fromarray(image[..., 0] if grey else image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(height, width, image.shape[2])


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    try:
        with files.opened(Path(path)) as file, Image.open(file, formats=_formats()) as image:
            yield image
    except FileNotFoundError:
        raise UserError(f"there is no image {path}") from None
    except UnidentifiedImageError:
        raise UserError(
            f"{path} cannot be read as an image: Pillow {PIL.__version__} does not recognise its contents as "
            f"{', '.join(_formats())}"
        ) from None
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise UserError(f"{path} cannot be read as an image: {error or type(error).__name__}") from None


def _upright(image: Image.Image) -> Image.Image:
    orientation = 1 if image.format == "TIFF" else image.getexif().get(_ORIENTATION, 1)  # Pillow turns a TIFF itself
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _over_white(image: Image.Image) -> Image.Image:
    palette_alpha = image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A")
    if not (palette_alpha or "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "RGBa")):
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))


def _grey_levels(image: Image.Image) -> np.ndarray:
    """uint8 [H, W] of grey levels that take more than 8 bits."""
    values = np.asarray(_upright(image))
    if image.mode == "F":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):
            raise UserError(
                f"the grey levels are floats from {low:g} to {high:g}, and 0 is read as black, 1 as white; scale them, "
                "or save it with 8 or 16 bits"
            )
        return np.rint(values * 255).astype(np.uint8)
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # these two have 16 bits in Pillow's 32
        raise UserError(
            "the grey levels are 32-bit integers, of which nothing says which is white; save it with 8 or 16 bits"
        )
    tags: Any = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    bits = tags.get(_BITS, (16,))[0]
    levels = np.rint(values * (255 / (2**bits - 1))).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow sees to it in images of 8 bits only
        levels = 255 - levels
    if "transparency" in image.info:
        levels[values == image.info["transparency"]] = 255
    return levels
