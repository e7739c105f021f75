"""Functions of activations that a backend may stand in for, as for Paddle's: called as `functional.name(...)`."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import Tensor


def softmax_blend(first: Tensor, second: Tensor) -> Tensor:
    """gate * first + (1 - gate) * second, with the gate sigmoid(mean of first - mean of second).

    The two means' softmax, that is, per sample and channel. Both tensors are [N, C, H, W].
    """
    gate = F.sigmoid(F.adaptive_avg_pool2d(first, 1) - F.adaptive_avg_pool2d(second, 1))
    return second + gate * (first - second)


def upsample(x: Tensor, height: int, width: int) -> Tensor:
    """[N, C, h, w] to that height and width by the nearest neighbour: row i is row floor(i h / height).

    Not F.interpolate, which does not run with oneDNN in Paddle Inference 3.3.1.
    """
    rows = [row * x.shape[2] // height for row in range(height)]
    columns = [column * x.shape[3] // width for column in range(width)]
    return x.index_select(paddle.to_tensor(rows), 2).index_select(paddle.to_tensor(columns), 3)
