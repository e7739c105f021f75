"""Tiles of Winograd's minimal filtering F(2x2, 3x3): what images, results and their gradients are turned into.

A tile of 4x4 positions of an image becomes 16 numbers, of which 2x2 positions of a result are made. The last row of
the transforms of image and result has the other sign than in arXiv 1509.09308, so that a gradient's transform is
additions and copies alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ppeconv.cpu.library.scratch import aligned, array_at

_CROWDED = 256
_PARITIES = tuple(itertools.product((0, 1), repeat=2))


class Room:
    """Arrays in a stretch of memory, one behind the other."""

    def __init__(self, address: int):
        self.end = address

    def array(self, *shape: int) -> np.ndarray:
        """The next float32 array."""
        address, self.end = self.end, self.end + aligned(4 * math.prod(shape))
        return array_at(address, shape)


@contextmanager
def operands_uncopied() -> Iterator[None]:
    """Where an operand has gaps, NumPy collects that many of its numbers in a buffer before it computes."""
    before = np.setbufsize(16)
    try:
        yield
    finally:
        np.setbufsize(before)


def width(channels: int) -> int:
    """Floats between one position's channels and the next one's: powers of two would share too few lines of a cache."""
    return channels if channels % _CROWDED else channels + 16


def image_tiles(image: np.ndarray, padding: tuple[int, int], tiles: tuple[int, int], room: Room) -> np.ndarray:
    """[4, 4, N, tiles down, tiles across, width of C] of [N, H, W, C] with zeros before its first row and column."""
    n, _, _, c = image.shape
    down, across = tiles
    top, left = padding
    wide = width(c)
    parts = room.array(2, 2, n, down + 1, across + 1, wide)
    parts.fill(0)
    for row, column in _PARITIES:
        seen = image[:, (row - top) % 2 :: 2, (column - left) % 2 :: 2]
        y, x = (top + 1 - row) // 2, (left + 1 - column) // 2
        parts[row, column, :, y : y + seen.shape[1], x : x + seen.shape[2], :c] = seen
    half = room.array(4, 2, n, down, across + 1, wide)
    _two_to_four(parts[..., :-1, :, :], parts[..., 1:, :, :], half)
    whole, half = room.array(4, 4, n, down, across, wide), half.swapaxes(0, 1)
    _two_to_four(half[..., :-1, :], half[..., 1:, :], whole.swapaxes(0, 1))
    return whole


def _two_to_four(here: np.ndarray, next_tile: np.ndarray, result: np.ndarray) -> None:
    np.subtract(here[0], next_tile[0], out=result[0])
    np.add(here[1], next_tile[0], out=result[1])
    np.subtract(next_tile[0], here[1], out=result[2])
    np.subtract(next_tile[1], here[1], out=result[3])


def gradient_tiles(gradient: np.ndarray, tiles: tuple[int, int], room: Room) -> np.ndarray:
    """[4, 4, N, tiles down, tiles across, width of M] of [N, H, W, M]."""
    n, h, w, m = gradient.shape
    whole = room.array(4, 4, n, *tiles, width(m))
    corners = whole[::3, ::3]
    if h % 2 or w % 2:
        corners.fill(0)
    corners[..., m:] = 0
    for row, column in _PARITIES:
        seen = gradient[:, row::2, column::2]
        corners[row, column, :, : seen.shape[1], : seen.shape[2], :m] = seen
    for four in (whole[::3].swapaxes(0, 1), whole):
        np.add(four[0], four[3], out=four[1])
        np.subtract(four[0], four[3], out=four[2])
    return whole


def result_of(products: np.ndarray, result: np.ndarray) -> None:
    """[N, H, W, M] of [4, 4, N, tiles down, tiles across, M], which are overwritten."""
    for four in (products, products[::3].swapaxes(0, 1)):
        four[0] += four[1]
        four[0] += four[2]
        four[3] -= four[2]
        four[3] += four[1]
    for row, column in _PARITIES:
        part = result[:, row::2, column::2]
        part[...] = products[3 * row, 3 * column, :, : part.shape[1], : part.shape[2]]
