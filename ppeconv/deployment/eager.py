"""A network in this process, called as an exported one is."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from ppeconv.deployment.outputs import one_or_all, tensors


class EagerRuntime:
    """float32 [N, C, H, W] -> [N, classes], or a list of arrays, as `Runtime`; the network has to be in eval mode."""

    def __init__(self, model: nn.Layer):
        self.model = model

    def __call__(self, images: np.ndarray) -> np.ndarray | list[np.ndarray]:
        with paddle.no_grad():
            return one_or_all([output.numpy() for output in tensors(self.model(paddle.to_tensor(images)))])
