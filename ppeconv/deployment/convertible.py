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


def channel_shuffle(x: Tensor, groups: int, data_format: str = "NCHW", name: str | None = None) -> Tensor:
    """`F.channel_shuffle`, all but the batch size known, by reshaping; a 0 keeps the axis as it is."""
    if data_format == "NHWC":
        height, width, channels = x.shape[1:]
        x = x.reshape([0, height * width, groups, channels // groups]).transpose([0, 1, 3, 2])
        return x.reshape([0, height, width, channels])
    channels, height, width = x.shape[1:]
    x = x.reshape([0, groups, channels // groups, height * width]).transpose([0, 2, 1, 3])
    return x.reshape([0, channels, height, width])
