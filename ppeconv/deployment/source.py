"""The network that is exported, in the formats from which the files of runtimes are made."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppeconv.deployment.manifest import PREFIX
from ppeconv.errors import UserError
from ppeconv.extras import present, required

if TYPE_CHECKING:
    from paddle import nn

OPSET = 13
"""Operator set of the ONNX files."""
_CONVERT = """
import sys, paddle2onnx
program, weights, target, opset = sys.argv[1:]
paddle2onnx.export(program, weights, target, opset_version=int(opset), auto_upgrade_opset=False, optimize_tool="None")
"""


class Source:
    """A network in its inference form, which runtimes write down.

    Args:
        network: in eval mode.
        input_shape: [C, H, W].
        scratch: an empty folder for what is made on the way.
        calibration: batches of real images [N, C, H, W], normalised, for runtimes that quantize.
    """

    def __init__(
        self,
        network: nn.Layer,
        input_shape: Sequence[int],
        scratch: Path,
        calibration: Iterable[np.ndarray] = (),
    ):
        self.network, self.input_shape = network, list(input_shape)
        self.scratch, self.calibration = scratch, calibration

    def save_program(self, folder: Path) -> None:
        """Write it as a program of Paddle of dynamic batch size, `program_files`, made of Paddle's own operations."""
        with paddle_operations():
            self._trace(folder)

    @cached_property
    def onnx(self) -> Path:
        """It as an ONNX file of dynamic batch size and operator set OPSET, in the scratch folder.

        Raises:
            UserError: paddle2onnx or onnx is missing, or an operation of the network has no counterpart.
        """
        present("paddle2onnx", "onnx")
        with onnx_operations():
            self._trace(self.scratch)
        return to_onnx(self.scratch)

    @property
    def opset(self) -> int | None:
        """The operator set of the ONNX file, where one was asked for."""
        return OPSET if "onnx" in vars(self) else None

    def _trace(self, folder: Path) -> None:
        import paddle

        spec = paddle.static.InputSpec([None, *self.input_shape], "float32", "image")
        network = _with_self(self.network)
        forward = network.forward
        static = paddle.jit.to_static(network, input_spec=[spec], full_graph=True)
        try:
            paddle.jit.save(static, str(folder / PREFIX))
        finally:
            network.forward = forward


def _with_self(network: nn.Layer) -> nn.Layer:
    """The network, inside another layer where its own forward calls its first argument other than self, as Paddle
    traces no outermost layer of that kind."""
    from paddle import nn

    first = next(iter(inspect.signature(type(network).forward).parameters), "self")
    return network if first == "self" else nn.Sequential(network)


def program_files(folder: Path) -> tuple[Path, Path]:
    """A program of Paddle without its weights, as Paddle 3 or Paddle 2 writes it, and the weights."""
    old = folder / f"{PREFIX}.pdmodel"
    return old if old.is_file() else folder / f"{PREFIX}.json", folder / f"{PREFIX}.pdiparams"


def to_onnx(folder: Path) -> Path:
    """`inference.onnx` beside the program that it is made of.

    paddle2onnx runs in a process of its own, as it ends the process at an operation that it does not know; nothing is
    downloaded or installed: it is kept from the optimisers that would.
    """
    onnx, target = required("onnx", "onnx"), folder / f"{PREFIX}.onnx"
    paths = [*map(str, program_files(folder)), str(target)]
    code, said = in_own_process(_CONVERT, *paths, str(OPSET), POLYGRAPHY_AUTOINSTALL_DEPS="0")
    if code or not target.is_file():
        raise UserError(f"paddle2onnx cannot convert this network to ONNX, opset {OPSET}: {said}")
    onnx.checker.check_model(str(target), full_check=True)
    return target


def in_own_process(program: str, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run a converter, which may end its process: the exit code, and what it said of errors."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "error" in line.lower() or "upport" in line]
    return done.returncode, " ".join(said[:3]) or "no reason given"


@contextmanager
def paddle_operations() -> Iterator[None]:
    """While this is open, networks are traced with operations that Paddle Inference can run, and runs fast."""
    from ppeconv.layers.shuffle import in_one_operation
    from ppeconv.layers.upsampling import by_repeating

    with in_one_operation(), by_repeating():
        yield


@contextmanager
def onnx_operations() -> Iterator[None]:
    """While this is open, networks are traced with operations that ONNX knows."""
    import paddle.nn.functional as F

    from ppeconv.layers.shuffle import by_reshaping
    from ppeconv.layers.upsampling import by_repeating

    original = F.channel_shuffle
    F.channel_shuffle = by_reshaping
    try:
        with by_repeating():
            yield
    finally:
        F.channel_shuffle = original
