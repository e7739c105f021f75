"""What a measurement depends on besides the networks, so that a table can be traced."""

from __future__ import annotations

import importlib.metadata
import os

import paddle

import ppeconv
from ppeconv import backend
from ppeconv.deployment.runtimes import by_preference


def threads() -> int:
    """Threads of a process that computes; read when Paddle was imported."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def facts() -> dict[str, str]:
    """The processor, the number of threads and the versions of what computes."""
    return {
        "cpu": backend.cpu_name(),
        "threads": str(threads()),
        "ppeconv": ppeconv.__version__,
        "paddle": paddle.__version__,
        **{kind.package: _version(kind.package) for kind in by_preference().values() if kind.package},
        "onednn": backend.available()[1],
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
