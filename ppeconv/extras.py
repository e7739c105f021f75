"""Packages that a light install goes without: how they are got, and what is not done where they are missing."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from types import ModuleType

from ppeconv.errors import UserError

EXTRAS = {
    "cpu": "requirements.txt",
    "gpu": "requirements-gpu.txt",
    "train": "requirements-common.txt",
    "slim": "requirements-common.txt",
    "zoo": "requirements-common.txt",
    "onnx": "requirements-onnx.txt",
    "openvino": "requirements-onnx.txt -r requirements-openvino.txt",
    "mnn": "requirements-onnx.txt -r requirements-mnn.txt",
    "paddleclas": "requirements-common.txt",
    "det": "requirements-det.txt",
}
"""Extra of the package -> the files of the repository that pin the same packages."""


def install_hint(extra: str) -> str:
    """The commands that install what an extra holds: in a clone of the repository, and where ppeconv is a package."""
    return f"in a clone of ppeconv: pip install -r {EXTRAS[extra]}; elsewhere: pip install 'ppeconv[{extra}]'"


def installed(package: str) -> bool:
    """Whether a package, or a module of one, can be imported; without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of a module whose package is missing
        return False


def present(package: str, extra: str | None = None) -> None:
    """Raise a UserError unless a package, of an extra or of none, is installed."""
    if not installed(package):
        hint = install_hint(extra) if extra else f"install it with: pip install {package}"
        raise UserError(f"this needs the package {package}, which is not installed; {hint}")


def required(package: str, extra: str | None = None) -> ModuleType:
    """A package, of an extra or of none, or a sentence that says how to get it."""
    present(package, extra)
    return importlib.import_module(package)


def left_out(uses: Mapping[str, str], extra: str) -> list[str]:
    """A sentence on what is not done where packages of an extra are not installed; none where all are.

    Args:
        uses: package -> what there is not without it, such as "curves.png is not drawn".
        extra: holds all of these packages.
    """
    missing = [package for package in uses if not installed(package)]
    if not missing:
        return []
    without = " and ".join(uses[package] for package in missing)
    verb = "is" if len(missing) == 1 else "are"
    return [f"{without}, as {' and '.join(missing)} {verb} not installed; {install_hint(extra)}"]
