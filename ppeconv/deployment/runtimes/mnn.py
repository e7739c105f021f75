"""Running an exported network with MNN, which is made for phones and runs on x86 too."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ppeconv.deployment.outputs import one_or_all
from ppeconv.deployment.runtimes.base import PREFIX, Runtime
from ppeconv.deployment.source import Source, in_own_process
from ppeconv.errors import UserError
from ppeconv.extras import required
from ppeconv.registry import RUNTIMES

FILE = f"{PREFIX}.mnn"
_WINOGRAD_LEVEL = 3  # of MNN's hints
_SMALL_TILES = 2
"""With its default, 3, MNN computes 5x5 convolutions in Winograd tiles that cost more than a digit of accuracy."""
_CONVERT = """
import sys, _tools
source, target = sys.argv[1:]
_tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", source, "--MNNModel", target, "--bizCode", "MNN"])
"""


@RUNTIMES.register(name="mnn")
class MnnRuntime(Runtime):
    """MNN on the CPU, in float32; calls from several threads wait for each other.

    The same file runs on phones with MNN's own library.
    """

    files = (FILE,)
    package, extra = "MNN", "mnn"
    preference = 6

    def __init__(self, folder: Path, threads: int | None = None, device: str = "cpu", precision: str = "float32"):
        self._busy = threading.Lock()
        with _quiet():
            self._mnn = required("MNN", "mnn")
            config = {"backend": "CPU", "precision": "high", "numThread": threads or len(os.sched_getaffinity(0))}
            manager = self._mnn.nn.create_runtime_manager((config,))
            manager.set_hint(_WINOGRAD_LEVEL, _SMALL_TILES)
            self._network = self._mnn.nn.load_module_from_file(str(folder / FILE), [], [], runtime_manager=manager)

    def __call__(self, images: np.ndarray) -> np.ndarray | list[np.ndarray]:
        expr = self._mnn.expr
        with self._busy:
            given = expr.const(np.ascontiguousarray(images, np.float32), list(images.shape), expr.NCHW, expr.float)
            return one_or_all([result.read().copy() for result in self._network.onForward([given])])

    @classmethod
    def write(cls, source: Source, folder: Path) -> None:
        """In a process of its own, with what the package's command for it calls; that command would call pip, too."""
        target = folder / FILE
        _, said = in_own_process(_CONVERT, str(source.onnx), str(target))
        if not target.is_file():
            raise UserError(f"MNN cannot convert this network: {said}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what MNN prints to the standard output, where predictions go."""
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    libc.fflush(None)
    before, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        libc.fflush(None)
        os.dup2(before, 1)
        os.close(before)
        os.close(nowhere)
