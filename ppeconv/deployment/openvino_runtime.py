"""Running an exported ONNX network with OpenVINO."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from ppeconv.deployment.outputs import one_or_all
from ppeconv.deployment.precision import Precision, require_bf16
from ppeconv.deployment.runtime import PREFIX
from ppeconv.errors import UserError
from ppeconv.extras import required


class OpenvinoRuntime:
    """An exported ONNX network: float32 [N, C, H, W] -> [N, classes]; calls from several threads wait for each other.

    A network of several outputs gives a list of arrays, see `named_outputs` for their order.

    Args:
        folder: holds inference.onnx.
        threads: CPU threads; OpenVINO's own choice when not given.
        device: "cpu", the only one that it is used on here.
        precision: "float32", or "bf16", which OpenVINO would choose by itself on a CPU that has it.
    """

    def __init__(self, folder: Path, threads: int | None = None, device: str = "cpu", precision: Precision = "float32"):
        if device != "cpu":
            raise UserError(f"OpenVINO is used on the CPU here; got device {device!r}")
        if precision == "bf16":
            require_bf16(device)
        file = folder / f"{PREFIX}.onnx"
        if not file.is_file():
            raise UserError(f"{folder} holds no {file.name}; make it with tools/export.py --to openvino")
        options = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            options["INFERENCE_NUM_THREADS"] = str(threads)
        self._network = required("openvino", "openvino").compile_model(str(file), "CPU", options)
        self._busy = threading.Lock()

    def __call__(self, images: np.ndarray) -> np.ndarray | list[np.ndarray]:
        with self._busy:
            results = self._network(np.ascontiguousarray(images, np.float32))
            return one_or_all([results[place] for place in range(len(self._network.outputs))])
