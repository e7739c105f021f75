"""Functions of activations that a backend may stand in for, as for Paddle's: called as `functional.name(...)`."""

from __future__ import annotations

import paddle.nn.functional as F
from paddle import Tensor


def softmax_blend(first: Tensor, second: Tensor) -> Tensor:
    """gate * first + (1 - gate) * second, with the gate sigmoid(mean of first - mean of second).

    The two means' softmax, that is, per sample and channel. Both tensors are [N, C, H, W].
    """
    gate = F.sigmoid(F.adaptive_avg_pool2d(first, 1) - F.adaptive_avg_pool2d(second, 1))
    return second + gate * (first - second)
