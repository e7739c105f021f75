"""A trained network as a fast function in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import paddle
from paddle import Tensor, nn

from ppeconv.deployment.export import export
from ppeconv.deployment.runtimes.onednn import OnednnRuntime


class InProcess:
    """A network run by oneDNN, see `OnednnRuntime`: float32 [N, C, H, W] -> [N, classes], arrays or tensors alike.

    It computes what `model` does in eval mode and has weights of its own, so that `model` may be trained on.

    Args:
        model: any network of convolutions.
        input_shape: [C, H, W].
        threads: CPU threads; those of the process when not given.

    Raises:
        UserError: the network has an operation that is not known, or the results differ by more than 1e-5.
    """

    def __init__(self, model: nn.Layer, input_shape: Sequence[int], threads: int | None = None):
        with tempfile.TemporaryDirectory() as folder:
            export(model, Path(folder) / "network", input_shape, to="onednn")
            self._run = OnednnRuntime(Path(folder) / "network", threads)

    def __call__(self, images: np.ndarray | Tensor) -> np.ndarray | Tensor:
        if isinstance(images, Tensor):
            return paddle.to_tensor(self._run(images.numpy()))
        return self._run(images)
