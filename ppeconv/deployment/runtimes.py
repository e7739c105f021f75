"""The runtimes that exported folders are made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppeconv.deployment.int8 import FILE, Int8Runtime
from ppeconv.deployment.manifest import check_files
from ppeconv.deployment.onednn_runtime import OnednnRuntime
from ppeconv.deployment.onnx_runtime import OnnxRuntime
from ppeconv.deployment.openvino_runtime import OpenvinoRuntime
from ppeconv.deployment.precision import Precision
from ppeconv.deployment.runtime import PREFIX, PaddleRuntime
from ppeconv.errors import UserError, first_line, nearest

Runtime = PaddleRuntime | OnednnRuntime | OnnxRuntime | OpenvinoRuntime

RUNTIMES: dict[str, type[Runtime]] = {
    "paddle": PaddleRuntime,
    "onednn": OnednnRuntime,
    "onnx": OnnxRuntime,
    "int8": Int8Runtime,
    "openvino": OpenvinoRuntime,
}
"""Name -> class; the first that a folder holds is the one it is run with unless another is asked for."""

BF16 = ("paddle", "openvino")
"""Those that compute in bf16 when asked."""

FILES = {
    "paddle": f"{PREFIX}.pdiparams",
    "onednn": f"{PREFIX}.json",
    "onnx": f"{PREFIX}.onnx",
    "int8": FILE,
    "openvino": f"{PREFIX}.onnx",
}
"""The file of each; Paddle 2 writes none that the runtime onednn reads."""

_BESIDE = {
    "paddle": [f"{PREFIX}.json", f"{PREFIX}.pdmodel"],
    "onednn": [f"{PREFIX}.pdiparams"],
}
"""Further files that are read, those that are there."""


def held_by(folder: Path) -> list[str]:
    """The runtimes that a folder has files for."""
    return [name for name, file in FILES.items() if (folder / file).is_file()]


def open_runtime(
    folder: Path,
    name: str | None = None,
    threads: int | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
) -> Runtime:
    """What runs the network in a folder.

    Args:
        folder: what `export` wrote.
        name: one of RUNTIMES; not given, the first that the folder holds.
        threads, device: see the runtimes.
        precision: "bf16" for one of BF16.
    """
    held = held_by(folder)
    if name is None:
        name = held[0] if held else "paddle"
    elif name not in RUNTIMES:
        raise UserError(f"there is no runtime {name!r}{nearest(name, RUNTIMES)}")
    elif name not in held:
        raise UserError(
            f"{folder} holds nothing for the runtime {name!r}; it holds {', '.join(held) or 'no network'}; "
            f"make it with tools/export.py --to {name}"
        )
    if precision != "float32" and name not in BF16:
        raise UserError(f"the runtime {name!r} does not compute in bf16; {' and '.join(BF16)} do")
    options: dict[str, Any] = {} if precision == "float32" else {"precision": precision}
    check_files(folder, [FILES[name], *_BESIDE.get(name, [])])
    try:
        return RUNTIMES[name](folder, threads, device, **options)
    except UserError:
        raise
    except Exception as error:  # each library has its own kinds for a damaged file
        raise UserError(
            f"the runtime {name!r} cannot open the network in {folder} ({first_line(error)}); make it again with "
            "tools/export.py"
        ) from None
