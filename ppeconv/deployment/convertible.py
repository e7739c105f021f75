"""Operations written so that paddle2onnx converts them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import paddle.nn.functional as F

from ppeconv.layers.shuffle import by_reshaping


@contextmanager
def convertible_operations() -> Iterator[None]:
    """While this is open, networks are traced with operations that ONNX knows."""
    original = F.channel_shuffle
    F.channel_shuffle = by_reshaping
    try:
        yield
    finally:
        F.channel_shuffle = original
