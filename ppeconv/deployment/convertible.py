"""Operations written so that paddle2onnx converts them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import paddle.nn.functional as F
from paddle import Tensor


@contextmanager
def convertible_operations() -> Iterator[None]:
    """While this is open, networks are traced with operations that ONNX knows."""
    original = F.channel_shuffle
    F.channel_shuffle = channel_shuffle
    try:
        yield
    finally:
        F.channel_shuffle = original


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """`F.channel_shuffle` of [N, C, H, W], H and W known, by reshaping; a 0 keeps the axis as it is."""
    channels, height, width = x.shape[1:]
    x = x.reshape([0, groups, channels // groups, height * width]).transpose([0, 2, 1, 3])
    return x.reshape([0, channels, height, width])
