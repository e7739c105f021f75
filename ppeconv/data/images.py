"""Reading image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ppeconv.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def read_image(path: str | Path, channels: int = 3) -> np.ndarray:
    """An image file as uint8 [H, W, channels], with 1 (grey) or 3 (RGB) channels, turned as its EXIF tag says."""
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(0x0112, 1)
            upright = image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
            pixels = np.asarray(upright.convert("RGB" if channels == 3 else "L"))
    except FileNotFoundError:
        raise UserError(f"there is no image {path}") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image: {error}") from None
    return pixels.reshape(*pixels.shape[:2], channels)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def is_image(path: Path) -> bool:
    """Whether the file's name ends like an image's."""
    return path.suffix.lower() in EXTENSIONS


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [H, W, C] at another size, bilinear with antialiasing."""
    if image.shape[:2] == (height, width):
        return image
    grey = image.shape[2] == 1
    picture = Image.fromarray(image[..., 0] if grey else image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(height, width, image.shape[2])
