"""Running an exported network with OpenVINO."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np

from ppeconv.deployment.outputs import one_or_all
from ppeconv.deployment.runtimes.base import Runtime
from ppeconv.deployment.runtimes.onnx import FILE, require_whole
from ppeconv.deployment.source import Source
from ppeconv.extras import required
from ppeconv.registry import RUNTIMES


@RUNTIMES.register(name="openvino")
class OpenvinoRuntime(Runtime):
    """OpenVINO on the CPU, which reads ONNX files; calls from several threads wait for each other.

    It computes in float32 unless asked for bf16, which it would choose by itself on a CPU that has it.
    """

    files = (FILE,)
    precisions = "float32", "bf16"
    package, extra = "openvino", "openvino"
    preference = 5

    def __init__(self, folder: Path, threads: int | None = None, device: str = "cpu", precision: str = "float32"):
        options = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            options["INFERENCE_NUM_THREADS"] = str(threads)
        require_whole(folder / FILE)
        self._network = required("openvino", "openvino").compile_model(str(folder / FILE), "CPU", options)
        self._busy = threading.Lock()

    def __call__(self, images: np.ndarray) -> np.ndarray | list[np.ndarray]:
        with self._busy:
            results = self._network(np.ascontiguousarray(images, np.float32))
            return one_or_all([results[place] for place in range(len(self._network.outputs))])

    @classmethod
    def write(cls, source: Source, folder: Path) -> None:
        shutil.copyfile(source.onnx, folder / FILE)
