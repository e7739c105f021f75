"""Running an exported network with the oneDNN library inside the paddlepaddle wheel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppeconv import backend
from ppeconv.cpu.inference import Executor
from ppeconv.deployment.runtime import PREFIX, program_files
from ppeconv.errors import UserError


class OnednnRuntime:
    """A network exported for Paddle: float32 [N, C, H, W] -> [N, classes]; calls from several threads take turns.

    Where Paddle Inference changes memory layouts between the small steps of an operator, everything stays
    channels-last here, sums, gates and activations are done inside the convolutions where oneDNN can, and a batch goes
    through in portions that fit the processor's caches.

    Args:
        folder: what was exported with Paddle 3.
        threads: CPU threads; those of the process when not given.
        device: "cpu", the only one.

    Raises:
        UserError: the network has an operation that is not known here, or the library does not work on this machine.
    """

    def __init__(self, folder: Path, threads: int | None = None, device: str = "cpu"):
        if device != "cpu":
            raise UserError(f"the runtime onednn is for the CPU; got device {device!r}")
        works, why = backend.available()
        if not works:
            raise UserError(f"the runtime onednn does not work here: {why}; use the runtime paddle")
        program_files(folder)
        self._run = Executor(folder / PREFIX, threads)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self._run(images)
