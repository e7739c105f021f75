"""Running an exported network with the oneDNN library inside the paddlepaddle wheel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppeconv.deployment.runtimes.base import PREFIX, Runtime
from ppeconv.deployment.source import Source
from ppeconv.errors import UserError
from ppeconv.registry import RUNTIMES


@RUNTIMES.register(name="onednn")
class OnednnRuntime(Runtime):
    """The oneDNN library of the Paddle wheel, without Paddle Inference; calls from several threads take turns.

    Where Paddle Inference changes memory layouts between the small steps of an operator, everything stays
    channels-last here, sums, gates and activations are done inside the convolutions where oneDNN can, and a batch goes
    through in portions that fit the processor's caches. In bf16 activations and the weights that multiply them are
    rounded; sums, biases, and what comes behind the classifier are float32.
    """

    files = f"{PREFIX}.json", f"{PREFIX}.pdiparams"
    """What Paddle 3 writes; Paddle 2 has programs of another kind."""
    precisions = "float32", "bf16"
    fuses = True
    preference = 2

    def __init__(self, folder: Path, threads: int | None = None, device: str = "cpu", precision: str = "float32"):
        from ppeconv import backend
        from ppeconv.cpu.inference import Executor

        works, why = backend.available()
        if not works:
            raise UserError(f"the runtime onednn does not work here: {why}; use the runtime paddle")
        self._run = Executor(folder / PREFIX, threads, precision)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self._run(images)

    @classmethod
    def write(cls, source: Source, folder: Path) -> None:
        source.save_program(folder)
