"""Conversion of an exported network to ONNX."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ppeconv.deployment.runtime import PREFIX, program_file
from ppeconv.errors import UserError
from ppeconv.extras import present, required

OPSET = 13
"""Operator set of the ONNX files."""
_CONVERT = """
import sys, paddle2onnx
program, weights, target, opset = sys.argv[1:]
paddle2onnx.export(program, weights, target, opset_version=int(opset), auto_upgrade_opset=False, optimize_tool="None")
"""


def write_onnx(folder: Path) -> Path:
    """`inference.onnx` of dynamic batch size beside the files of Paddle Inference that it is made of.

    paddle2onnx runs in a process of its own, as it ends the process at an operation that it does not know; nothing is
    downloaded or installed: it is kept from the optimisers that would.

    Raises:
        UserError: paddle2onnx or onnx is missing, or an operation of the network has no counterpart.
    """
    onnx = required("onnx", "onnx")
    present("paddle2onnx", "onnx")
    target = folder / f"{PREFIX}.onnx"
    files = program_file(folder), folder / f"{PREFIX}.pdiparams", target
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CONVERT, *map(str, files), str(OPSET)],
        env={**os.environ, "POLYGRAPHY_AUTOINSTALL_DEPS": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not target.is_file():
        said = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line or "support" in line]
        raise UserError(
            f"paddle2onnx cannot convert this network to ONNX, opset {OPSET}: {' '.join(said[:3]) or 'no reason given'}"
        )
    onnx.checker.check_model(str(target), full_check=True)
    return target
