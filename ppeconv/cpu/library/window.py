"""The window of a convolution or pooling as the fast layers describe it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ppeconv.cpu.library.onednn import FLOAT32


class Geometry(NamedTuple):
    """All that a convolution's primitives depend on."""

    image: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    biased: bool
    threads: int
    data_type: int = FLOAT32
    """Of what is multiplied; sums are float32."""

    @property
    def result(self) -> tuple[int, int, int, int]:
        """The shape of the convolution's result."""
        n, _, h, w = self.image
        m, _, kh, kw = self.weight
        top, bottom, left, right = self.padding
        height = _extent(h + top + bottom, kh, self.stride[0], self.dilation[0])
        return n, m, height, _extent(w + left + right, kw, self.stride[1], self.dilation[1])

    @property
    def is_pointwise(self) -> bool:
        """Whether each position of the result is made of that of the image alone: 1x1, neither strided nor padded."""
        return self.weight[2:] == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0, 0, 0)

    def bands(self, count: int) -> list[Band]:
        """The result cut into so many bands of rows, each with the rows of the image that it needs."""
        _, _, height, _ = self.result
        return [self._band(height * it // count, height * (it + 1) // count) for it in range(count)]

    def _band(self, start: int, stop: int) -> Band:
        n, c, h, w = self.image
        top, _, left, right = self.padding
        first = start * self.stride[0] - top
        last = (stop - 1) * self.stride[0] - top + (self.weight[2] - 1) * self.dilation[0]
        above, below = max(0, -first), max(0, last + 1 - h)
        image = n, c, last + 1 - below - first - above, w
        return Band(first + above, start, self._replace(image=image, padding=(above, below, left, right)))


class Band(NamedTuple):
    """A band of a convolution's result: where it begins in image and result, and its own geometry."""

    image_row: int
    result_row: int
    geometry: Geometry


def _extent(padded: int, kernel: int, stride: int, dilation: int) -> int:
    return (padded - dilation * (kernel - 1) - 1) // stride + 1


def explicit_padding(
    padding: Sequence[int] | int,
    algorithm: str,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
) -> tuple[int, int, int, int]:
    """Paddle's padding arguments as (top, bottom, left, right)."""
    if algorithm == "VALID":
        return 0, 0, 0, 0
    if algorithm == "SAME":
        return _same(size[0], kernel[0], stride[0]) + _same(size[1], kernel[1], stride[1])
    if isinstance(padding, int):
        return (padding,) * 4
    if len(padding) == 4:
        top, bottom, left, right = padding
        return top, bottom, left, right
    return padding[0], padding[0], padding[1], padding[1]


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
