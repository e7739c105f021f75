"""Running an exported network with ONNX Runtime."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ppeconv import files
from ppeconv.deployment.outputs import one_or_all
from ppeconv.deployment.runtimes.base import PREFIX, Runtime
from ppeconv.deployment.source import Source
from ppeconv.errors import UserError
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
        self._session = open_session(folder / self.files[0], threads)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: np.ndarray) -> np.ndarray | list[np.ndarray]:
        return one_or_all(self._session.run(None, {self._input: np.ascontiguousarray(images, np.float32)}))

    @classmethod
    def write(cls, source: Source, folder: Path) -> None:
        shutil.copyfile(source.onnx, folder / FILE)


def open_session(file: Path, threads: int | None = None) -> Any:
    """ONNX Runtime's session of a file, on the CPU; raises a UserError where it is not whole."""
    runtime = required("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    require_whole(file)
    return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def require_whole(file: Path) -> None:
    """Raise a UserError where weights are said to lie in other files, which may be any files of the machine."""
    if b"location" not in files.read(
        file, files.ARRAYS
    ):  # the key that names such a file; without it onnx need not be installed
        return
    onnx = required("onnx", "onnx")
    for message in _messages(onnx.load(str(file), load_external_data=False)):
        if isinstance(message, onnx.TensorProto) and message.data_location == onnx.TensorProto.EXTERNAL:
            raise UserError(
                f"{file} asks for weights from another file, and tools/export.py writes them into this one; make it "
                "again with it"
            )


def _messages(message: Any) -> Iterator[Any]:
    """A protocol buffer message and all that it holds."""
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in [value] if hasattr(value, "ListFields") else value:  # one message or several
                yield from _messages(part)
