"""What a measurement depends on besides the networks, so that a table can be traced."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import paddle

import ppeconv
from ppeconv import backend
from ppeconv.deployment.runtimes import by_preference


def threads() -> int:
    """Threads of a process that computes; read when Paddle was imported."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def available_mib() -> float | None:
    """Memory in MiB that new processes may take, the limit of a container included; None where Linux does not tell."""
    room = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        room += [int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable:")]
        limit, used = (Path("/sys/fs/cgroup", name).read_text() for name in ("memory.max", "memory.current"))
        room.append((int(limit) - int(used)) / 2**20)
    except (OSError, ValueError):  # "max": no limit
        pass
    return min(room, default=None)


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
