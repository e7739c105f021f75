"""The shared libraries that the paddlepaddle wheel brings."""

from __future__ import annotations

import ctypes
from pathlib import Path

import paddle


def load(name: str) -> ctypes.CDLL:
    """The library in a file of the wheel's folder; raises OSError where there is none of that name."""
    return ctypes.CDLL(str(Path(paddle.__file__).parent / "libs" / name))
