"""Conversion of an exported network to ONNX."""

from __future__ import annotations

import os
from pathlib import Path

from ppeconv.deployment.onnx_runtime import required
from ppeconv.deployment.runtime import PREFIX, program_file
from ppeconv.errors import UserError

OPSET = 13
"""Operator set of the ONNX files."""


def write_onnx(folder: Path) -> Path:
    """`inference.onnx` of dynamic batch size beside the files of Paddle Inference that it is made of.

    Nothing is downloaded or installed: paddle2onnx is kept from the optimisers that would.

    Raises:
        UserError: paddle2onnx or onnx is missing, or an operation of the network has no counterpart.
    """
    os.environ["POLYGRAPHY_AUTOINSTALL_DEPS"] = "0"
    converter, onnx = required("paddle2onnx"), required("onnx")
    target = folder / f"{PREFIX}.onnx"
    try:
        converter.export(
            str(program_file(folder)),
            str(folder / f"{PREFIX}.pdiparams"),
            str(target),
            opset_version=OPSET,
            auto_upgrade_opset=False,
            enable_onnx_checker=False,
            optimize_tool="None",
        )
        onnx.checker.check_model(str(target), full_check=True)
    except Exception as error:  # the converter raises whatever its C++ side meets
        raise UserError(
            f"the network cannot be converted to ONNX, opset {OPSET}: {str(error).strip().splitlines()[-1:]}"
        ) from None
    return target
