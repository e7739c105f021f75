"""Channel shuffle, as one operation or as several that converters know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import paddle
import paddle.nn.functional as F
from paddle import Tensor

_IN_ONE = ContextVar("one operation in traced programs", default=False)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """[N, C, H, W]: channel a * (C / groups) + b goes to b * groups + a.

    In a program that is traced it is made of reshapes and a transposition, as paddle2onnx does not know Paddle's
    operation, but for `in_one_operation`.
    """
    if paddle.in_dynamic_mode() or _IN_ONE.get():
        return F.channel_shuffle(x, groups)
    return by_reshaping(x, groups)


@contextmanager
def in_one_operation() -> Iterator[None]:
    """While this is open, programs are traced with Paddle's operation, which Paddle's runtimes do in one pass."""
    before = _IN_ONE.set(True)
    try:
        yield
    finally:
        _IN_ONE.reset(before)


def by_reshaping(x: Tensor, groups: int, data_format: str = "NCHW", name: str | None = None) -> Tensor:
    """`F.channel_shuffle`, all but the batch size known, by reshaping; a 0 keeps the axis as it is."""
    if data_format == "NHWC":
        height, width, channels = x.shape[1:]
        x = x.reshape([0, height * width, groups, channels // groups]).transpose([0, 1, 3, 2])
        return x.reshape([0, height, width, channels])
    channels, height, width = x.shape[1:]
    x = x.reshape([0, groups, channels // groups, height * width]).transpose([0, 2, 1, 3])
    return x.reshape([0, channels, height, width])
