"""Running an exported network with Paddle Inference."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from ppeconv.deployment.outputs import one_or_all
from ppeconv.deployment.runtimes.base import PREFIX, Runtime
from ppeconv.deployment.source import Source, program_files
from ppeconv.errors import UserError
from ppeconv.registry import RUNTIMES

BROKEN_PASS = "conv_concat_activation_onednn_fuse_pass"
"""With it Paddle Inference 3.3.1 cannot load convolutions, a concatenation and a ReLU in direct succession."""


@RUNTIMES.register(name="paddle")
class PaddleRuntime(Runtime):
    """Paddle Inference, on a CPU with oneDNN's kernels or on a GPU; calls from several threads wait for each other.

    Paddle Inference sets the number of threads of the whole process, which has its own again after each call.
    """

    files = tuple(f"{PREFIX}.{ending}" for ending in ("json", "pdmodel", "pdiparams", "pdiparams.info"))
    """Of Paddle 3, the first and the third; of Paddle 2, the others."""
    devices = "cpu", "gpu"
    precisions = "float32", "bf16"
    preference = 1

    def __init__(self, folder: Path, threads: int | None = None, device: str = "cpu", precision: str = "float32"):
        self._predictor = open_program(folder, threads, device, precision)
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._outputs = [self._predictor.get_output_handle(name) for name in self._predictor.get_output_names()]
        self._busy, self._precision = threading.Lock(), precision

    def __call__(self, images: np.ndarray) -> np.ndarray | list[np.ndarray]:
        from ppeconv import backend

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

    @classmethod
    def write(cls, source: Source, folder: Path) -> None:
        source.save_program(folder)

    @classmethod
    def held_by(cls, folder: Path) -> bool:
        return all(file.is_file() for file in program_files(folder))


def open_program(folder: Path, threads: int | None = None, device: str = "cpu", precision: str = "float32") -> Any:
    """Paddle Inference's predictor of the program in a folder; arguments as for `Runtime`."""
    from paddle import inference

    from ppeconv import backend
    from ppeconv.engine.devices import require_gpu

    config = inference.Config(*map(str, program_files(folder)))
    config.disable_glog_info()
    if device == "gpu":
        require_gpu("device")
        config.enable_use_gpu(256, 0)
    else:
        config.disable_gpu()
        config.enable_mkldnn()
        config.delete_pass(BROKEN_PASS)
        if precision == "bf16":
            config.enable_mkldnn_bfloat16()
        if threads:
            config.set_cpu_math_library_num_threads(threads)
    with backend.threads_kept():
        return inference.create_predictor(config)
