"""Running a network: an exported one with Paddle Inference, or one in this process."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ppeconv import backend
from ppeconv.deployment.outputs import one_or_all, tensors
from ppeconv.deployment.precision import Precision, require_bf16
from ppeconv.engine.devices import require_gpu
from ppeconv.errors import UserError

PREFIX = "inference"
BROKEN_PASS = "conv_concat_activation_onednn_fuse_pass"
"""With it Paddle Inference 3.3.1 cannot load convolutions, a concatenation and a ReLU in direct succession."""


class PaddleRuntime:
    """An exported network: float32 [N, C, H, W] -> [N, classes]; calls from several threads wait for each other.

    A network of several outputs gives a list of arrays, see `named_outputs` for their order.

    Paddle Inference sets the number of threads of the whole process, which has its own again after each call.

    Args:
        folder: holds inference.json or inference.pdmodel, and inference.pdiparams.
        threads: CPU threads; Paddle's own choice when not given.
        device: "cpu" or "gpu".
        onednn: use oneDNN's fused kernels on the CPU.
        precision: "float32", or "bf16" with oneDNN; what is given and returned stays float32.

    Raises:
        UserError: the folder holds no network, there is no GPU, or the CPU does not compute in bf16; when called, also
            where Paddle Inference cannot run the network in bf16.
    """

    def __init__(
        self,
        folder: Path,
        threads: int | None = None,
        device: str = "cpu",
        onednn: bool = True,
        precision: Precision = "float32",
    ):
        from paddle import inference

        program, parameters = program_files(folder)
        if precision == "bf16":
            require_bf16(device)
        config = inference.Config(str(program), str(parameters))
        config.disable_glog_info()
        if device == "gpu":
            require_gpu("device")
            config.enable_use_gpu(256, 0)
        else:
            config.disable_gpu()
            (config.enable_mkldnn if onednn else config.disable_mkldnn)()  # Paddle 3 has it on by default
            config.delete_pass(BROKEN_PASS)
            if precision == "bf16":
                config.enable_mkldnn_bfloat16()
            if threads:
                config.set_cpu_math_library_num_threads(threads)
        with backend.threads_kept():
            self._predictor = inference.create_predictor(config)
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._outputs = [self._predictor.get_output_handle(name) for name in self._predictor.get_output_names()]
        self._busy, self._precision = threading.Lock(), precision

    def __call__(self, images: np.ndarray) -> np.ndarray | list[np.ndarray]:
        with self._busy, backend.threads_kept():
            self._input.reshape(images.shape)
            self._input.copy_from_cpu(np.ascontiguousarray(images, np.float32))
            try:
                self._predictor.run()
            except RuntimeError as error:
                if self._precision == "float32":
                    raise
                last = str(error).strip().splitlines()[-1:]
                raise UserError(
                    f"Paddle Inference cannot run this network in bf16 ({''.join(last)}); use float32, or export "
                    "it with other forms of its operators"
                ) from None
            return one_or_all([output.copy_to_cpu() for output in self._outputs])


class EagerRuntime:
    """A network in this process, called as an exported one is; it has to be in eval mode."""

    def __init__(self, model: nn.Layer):
        self.model = model

    def __call__(self, images: np.ndarray) -> np.ndarray | list[np.ndarray]:
        with paddle.no_grad():
            return one_or_all([output.numpy() for output in tensors(self.model(paddle.to_tensor(images)))])


def program_files(folder: Path) -> tuple[Path, Path]:
    """The network and its weights; raises UserError where one is missing."""
    files = program_file(folder), folder / f"{PREFIX}.pdiparams"
    if not all(file.is_file() for file in files):
        raise UserError(
            f"{folder} holds no exported network: it needs {PREFIX}.json (or .pdmodel) and {PREFIX}.pdiparams, "
            "which tools/export.py writes"
        )
    return files


def program_file(folder: Path) -> Path:
    """The network without its weights, as Paddle 3 or Paddle 2.6 writes it."""
    old = folder / f"{PREFIX}.pdmodel"
    return old if old.is_file() else folder / f"{PREFIX}.json"
