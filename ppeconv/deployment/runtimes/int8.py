"""Static quantisation to 8 bits, with ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ppeconv.deployment.runtimes.base import PREFIX
from ppeconv.deployment.runtimes.onnx import OnnxRuntime
from ppeconv.deployment.source import Source
from ppeconv.extras import required
from ppeconv.registry import RUNTIMES

_WARNINGS, _ERRORS = 2, 3  # severities of ONNX Runtime's log; it begins with the first


@RUNTIMES.register(name="int8")
class Int8Runtime(OnnxRuntime):
    """ONNX Runtime with weights, a range for each channel, and activations in 8 bits; called as `OnnxRuntime`."""

    files = (f"{PREFIX}.int8.onnx",)
    quantizes = "onnx"
    preference = 4

    @classmethod
    def write(cls, source: Source, folder: Path) -> None:
        with _quiet():
            _quantize(source.onnx, folder / cls.files[0], source.calibration, source.scratch / "prepared.onnx")


def _quantize(network: Path, target: Path, images: Iterable[np.ndarray], prepared: Path) -> None:
    """Write an ONNX network in 8 bits.

    Args:
        images: batches [N, C, H, W] whose activations give the ranges; some hundred images.
        prepared: where the network may be put in between.
    """
    quantization = required("onnxruntime.quantization", "onnx")
    shape_inference = required("onnxruntime.quantization.shape_inference", "onnx")
    shape_inference.quant_pre_process(str(network), str(prepared), skip_symbolic_shape=True)
    name = required("onnxruntime", "onnx").InferenceSession(str(prepared)).get_inputs()[0].name

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]  # of a module got at run time
        """The calibration images as ONNX Runtime asks for them."""

        def __init__(self) -> None:
            self.batches = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {name: np.ascontiguousarray(batch, np.float32)}

    quantization.quantize_static(
        str(prepared),
        str(target),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        reduce_range=False,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of ONNX Runtime and of its quantisation, which are about networks before preparation."""
    runtime, log = required("onnxruntime", "onnx"), logging.getLogger()
    level = log.level
    runtime.set_default_logger_severity(_ERRORS)
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        runtime.set_default_logger_severity(_WARNINGS)
