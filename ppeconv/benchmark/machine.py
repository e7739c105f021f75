"""What a measurement depends on besides the networks, so that a table can be traced."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import paddle

import ppeconv
from ppeconv import backend

RUNTIME_PACKAGES = "onnxruntime", "openvino"


def threads() -> int:
    """Threads of a process that computes; read when Paddle was imported."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def facts() -> dict[str, str]:
    """The processor, the number of threads and the versions of what computes."""
    return {
        "cpu": cpu_model(),
        "threads": str(threads()),
        "ppeconv": ppeconv.__version__,
        "paddle": paddle.__version__,
        **{package: _version(package) for package in RUNTIME_PACKAGES},
        "onednn": backend.available()[1],
    }


def cpu_model() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
