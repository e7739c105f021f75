"""Running an exported network with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppeconv.deployment.outputs import one_or_all
from ppeconv.deployment.runtime import PREFIX
from ppeconv.errors import UserError
from ppeconv.extras import required


class OnnxRuntime:
    """An exported ONNX network: float32 [N, C, H, W] -> [N, classes]; may be called from several threads.

    A network of several outputs gives a list of arrays, see `named_outputs` for their order.

    Args:
        folder: holds inference.onnx.
        threads: CPU threads; ONNX Runtime's own choice when not given.
        device: "cpu", the only one that the packages of the extra [onnx] run on.
        file: another file of the folder.
    """

    def __init__(self, folder: Path, threads: int | None = None, device: str = "cpu", file: str = f"{PREFIX}.onnx"):
        if device != "cpu":
            raise UserError(f"ONNX Runtime is used on the CPU here; got device {device!r}")
        if not (folder / file).is_file():
            raise UserError(f"{folder} holds no {file}; make it with tools/export.py --to onnx or --to int8")
        runtime = required("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        self._session = runtime.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: np.ndarray) -> np.ndarray | list[np.ndarray]:
        return one_or_all(self._session.run(None, {self._input: np.ascontiguousarray(images, np.float32)}))
