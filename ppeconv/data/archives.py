"""The archives of CIFAR and MNIST, read without running anything that stands in them."""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ppeconv import files
from ppeconv.data.pickles import load_plain
from ppeconv.errors import UserError, first_line

_MOST = 2**30
"""Bytes that an archive may hold, unpacked; CIFAR-100 holds 186 million."""
_UNSIGNED_BYTES = 0x0800
"""What an idx file of uint8 begins with; the number of its dimensions is added."""


def at_hand(file: Path, url: str, md5: str) -> Path:
    """The file, or the one that Paddle fetches from `url` and keeps, where there is none."""
    if file.is_file():
        return file
    from paddle.dataset.common import download

    try:
        return Path(download(url, PurePosixPath(url).parent.name, md5))
    except Exception as error:
        raise UserError(
            f"there is no {file}, and it could not be downloaded ({first_line(error)}); put the file there, or name "
            "its folder with -o Global.data_root=DIR or the variable PPECONV_DATA"
        ) from None


def read_cifar(file: Path, batches: str, labels: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 32, 32, 3] and labels int64 [N] of `cifar-*-python.tar.gz`, in the order of the archive.

    Args:
        file: the archive.
        batches: how the names of its members begin that are wanted.
        labels: under which key these have their labels.
    """
    images, numbers = [], []
    with (
        _reading(file, "CIFAR"),
        _unpacked(file) as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        for member in archive:
            if not (member.isfile() and PurePosixPath(member.name).name.startswith(batches)):
                continue
            content = archive.extractfile(member)
            if content is None:
                continue
            batch = load_plain(content, encoding="bytes")
            pixels, own = np.asarray(batch[b"data"]), np.asarray(batch[labels.encode()])
            if pixels.dtype != np.uint8 or own.dtype.kind not in "iu" or pixels.shape != (*own.shape, 3 * 32 * 32):
                raise ValueError(f"{member.name} holds data {pixels.dtype} {pixels.shape}, labels {own.shape}")
            images.append(pixels)
            numbers.append(own)
        if not sum(map(len, numbers)):
            raise ValueError(f"it holds no image in members {batches}*")
    planes = np.concatenate(images).reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), np.concatenate(numbers).astype(np.int64)


def read_idx(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 28, 28, 1] and labels int64 [N] of two gzipped idx files (yann.lecun.com/exdb/mnist)."""
    pixels, numbers = _idx_array(images, 3), _idx_array(labels, 1)
    if len(pixels) != len(numbers):
        raise UserError(f"{images} holds {len(pixels)} images, but {labels} has {len(numbers)} labels; fetch them anew")
    if not len(pixels) or pixels.shape[1:] != (28, 28):
        raise UserError(f"{images} should hold images of 28x28 pixels; it holds {' x '.join(map(str, pixels.shape))}")
    return pixels[..., None], numbers.astype(np.int64)


def _idx_array(file: Path, dimensions: int) -> np.ndarray:
    with _reading(file, "MNIST"):
        with _unpacked(file) as stream:
            content = stream.read()
        magic, *shape = struct.unpack_from(f">{1 + dimensions}I", content)
        if magic != _UNSIGNED_BYTES + dimensions:
            raise ValueError(f"it begins with {magic}, and {_UNSIGNED_BYTES + dimensions} was expected")
        values = np.frombuffer(content, np.uint8, offset=4 * (1 + dimensions))
        if values.size != math.prod(shape):
            raise ValueError(f"it announces {math.prod(shape)} bytes and holds {values.size}")
        return values.reshape(shape)


@contextmanager
def _unpacked(file: Path) -> Iterator[_Bounded]:
    with files.opened(file) as stream:
        is_packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        if os.fstat(stream.fileno()).st_size > _MOST:
            raise ValueError(f"it has more than {_MOST:,} bytes")
        yield _Bounded(gzip.GzipFile(fileobj=stream) if is_packed else stream, _MOST)


class _Bounded(io.RawIOBase):
    """A stream that ends with an error where it holds more than it may: a few bytes can be unpacked to any number."""

    def __init__(self, stream: Any, most: int):
        self.stream, self.left = stream, most

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(2**20), b""))
        content = self.stream.read(min(size, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise ValueError(f"it holds more than {_MOST:,} bytes")
        return content


@contextmanager
def _reading(file: Path, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # damaged archives raise many kinds
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{file} cannot be read as {what} ({reason}); fetch the file anew") from None
