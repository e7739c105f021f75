"""Running an exported network with ONNX Runtime."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from ppeconv.deployment.outputs import one_or_all
from ppeconv.deployment.runtimes.base import PREFIX, Runtime
from ppeconv.deployment.source import Source
from ppeconv.extras import required
from ppeconv.registry import RUNTIMES

FILE = f"{PREFIX}.onnx"


@RUNTIMES.register(name="onnx")
class OnnxRuntime(Runtime):
    """ONNX Runtime on the CPU; calls from several threads run at the same time."""

    files = (FILE,)
    package, extra = "onnxruntime", "onnx"
    preference = 3

    def __init__(self, folder: Path, threads: int | None = None, device: str = "cpu", precision: str = "float32"):
        runtime = required("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        file = str(folder / self.files[0])
        self._session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: np.ndarray) -> np.ndarray | list[np.ndarray]:
        return one_or_all(self._session.run(None, {self._input: np.ascontiguousarray(images, np.float32)}))

    @classmethod
    def write(cls, source: Source, folder: Path) -> None:
        shutil.copyfile(source.onnx, folder / FILE)
