"""MKL, which multiplies matrices for Paddle, takes its slowest path on CPUs of other makers than Intel.

A variable that MKL reads at its first multiplication tells it what the CPU can do. It is set only for instructions
that the CPU lists, and never over a value of the user's. Measured on an AMD CPU with AVX-512, float32
[512, 2048] x [2048, 2048], 2 threads: 89 ms without it, 22 ms with 7, 26 ms with 5.
"""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

from ppeconv.cpu.library import wheel
from ppeconv.cpu.library.cpuinfo import cpu_facts, cpu_flags

VARIABLE = "MKL_DEBUG_CPU_TYPE"
_PATHS = (("7", {"avx512f", "avx512dq", "avx512bw", "avx512vl"}), ("5", {"avx2", "fma"}))


@functools.cache
def fast_path(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """The variable's value for this CPU; None for Intel's own, which MKL knows, and where nothing is known."""
    if "GenuineIntel" in cpu_facts(cpuinfo).get("vendor_id", []):
        return None
    return next((value for value, needed in _PATHS if needed <= cpu_flags(cpuinfo)), None)


def take_fast_path() -> None:
    """Tell MKL; without effect once the process has multiplied matrices."""
    if path := fast_path():
        os.environ.setdefault(VARIABLE, path)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The loaded library; None where the wheel multiplies with another one."""
    try:
        return wheel.load("libmklml_intel.so")
    except OSError:
        return None
