"""Nearest-neighbour upsampling by whole factors, written in operations that every runtime has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paddle.nn.functional as F
from paddle import Tensor


@contextmanager
def by_repeating() -> Iterator[None]:
    """Inside, `F.interpolate` repeats rows and columns where that is what it does.

    Of Paddle 3.3.1's own operation Paddle Inference cannot run oneDNN's kernel, and paddle2onnx 2.1.0 cannot read it.
    """
    original = F.interpolate

    def interpolate(*args: Any, **kwargs: Any) -> Tensor:
        factors = _whole_factors(*args, **kwargs)
        return original(*args, **kwargs) if factors is None else repeated(args[0], *factors)

    F.interpolate = interpolate
    try:
        yield
    finally:
        F.interpolate = original


def repeated(x: Tensor, rows: int, columns: int) -> Tensor:
    """[N, C, H, W], all but N known -> [N, C, rows H, columns W], every pixel that many times beside itself."""
    channels, height, width = x.shape[1:]
    x = x.reshape([0, channels, height, 1, width, 1]).expand([-1, channels, height, rows, width, columns])
    return x.reshape([0, channels, rows * height, columns * width])


def _whole_factors(
    x: Tensor | None = None,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool = False,
    *others: Any,
    data_format: str | None = None,
    **without_effect: Any,
) -> tuple[int, int] | None:
    """How often rows and columns are repeated; None where `F.interpolate`, called like this, does something else.

    What else it takes by name has no effect on nearest neighbours at whole factors; what else it takes by place differs
    between versions of Paddle.
    """
    other = mode.lower() != "nearest" or align_corners or data_format not in (None, "NCHW") or others
    if other or x is None or len(x.shape) != 4 or min(x.shape[1:]) < 1:
        return None
    if size is None:
        factors = list(scale_factor) if isinstance(scale_factor, (list, tuple)) else [scale_factor] * 2
    elif isinstance(size, (list, tuple)) and len(size) == 2 and all(isinstance(side, int) for side in size):
        factors = [size[0] / x.shape[2], size[1] / x.shape[3]]
    else:
        return None
    if len(factors) != 2 or not all(isinstance(it, (int, float)) and it >= 1 and it == int(it) for it in factors):
        return None
    return int(factors[0]), int(factors[1])
