"""Static quantisation to 8 bits, with ONNX Runtime."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ppeconv.deployment.onnx_runtime import OnnxRuntime
from ppeconv.deployment.runtime import PREFIX
from ppeconv.extras import required

FILE = f"{PREFIX}.int8.onnx"
_FALL = 1.0  # percentage points
_WARNINGS, _ERRORS = 2, 3  # severities of ONNX Runtime's log; it begins with the first


def write_int8(folder: Path, images: Iterable[np.ndarray]) -> Path:
    """`inference.int8.onnx` beside the `inference.onnx` it is made of: weights and activations in 8 bits.

    Args:
        folder: what was exported.
        images: batches [N, C, H, W], normalised, from whose activations the ranges are taken; some hundred images.
    """
    quantization = required("onnxruntime.quantization", "onnx")
    shape_inference = required("onnxruntime.quantization.shape_inference", "onnx")
    target = folder / FILE
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        prepared = Path(scratch) / "prepared.onnx"
        shape_inference.quant_pre_process(str(folder / f"{PREFIX}.onnx"), str(prepared), skip_symbolic_shape=True)
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
    return target


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


class Int8Runtime(OnnxRuntime):
    """An exported network in 8 bits; called as `OnnxRuntime`."""

    def __init__(self, folder: Path, threads: int | None = None, device: str = "cpu"):
        super().__init__(folder, threads, device, FILE)


def top1(runtime: Callable[[np.ndarray], Any], batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Share of images whose best class is their label; batches are (images [N, C, H, W], labels [N])."""
    hits = np.concatenate([runtime(images).argmax(1) == labels for images, labels in batches])
    return float(hits.mean())


def compared(before: float, after: float) -> tuple[str, bool]:
    """What quantisation did to the top-1 accuracy, as a sentence, and whether it is much."""
    points = 100 * (after - before)
    text = f"int8: top1 {before:.5f} before, {after:.5f} after, on the test images: {points:+.2f} points"
    if points > -_FALL:
        return text, False
    return f"{text}; if that is too much, keep float32 (--to onnx or --to onednn)", True
