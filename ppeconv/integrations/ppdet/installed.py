"""PaddleDetection where it is: a package, or a clone of its repository on PYTHONPATH."""

from __future__ import annotations

import importlib
from types import ModuleType

from ppeconv.errors import UserError
from ppeconv.extras import install_hint, installed

PACKAGE = "paddledet==2.6.0"
_HINT = (
    f"{install_hint('det')}; then pip install --no-deps {PACKAGE}, or a clone of PaddleDetection on PYTHONPATH "
    "(docs/detection.md)"
)


def import_ppdet(module: str) -> ModuleType:
    """A module of ppdet, such as "core.workspace".

    Raises:
        UserError: PaddleDetection, or a package that it needs, is not installed.
    """
    if not installed("ppdet"):
        raise UserError(f"this needs PaddleDetection, which is not installed; {_HINT}")
    try:
        return importlib.import_module(f"ppdet.{module}")
    except ImportError as error:
        raise UserError(f"PaddleDetection cannot be imported: {error}; {_HINT}") from None
