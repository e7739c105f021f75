"""The number format that a runtime computes in."""

from __future__ import annotations

import os
from pathlib import Path

from ppeconv.errors import UserError

BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
_CAPS_BELOW_BF16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"}


def require_bf16(device: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Raise a UserError unless it is a CPU that computes in bfloat16; others would imitate it and be slower."""
    from ppeconv.backend import cpu_flags

    if device != "cpu":
        raise UserError(f"bf16 is for the CPU here; got device {device!r}")
    cap = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    if cap.upper() in _CAPS_BELOW_BF16:
        raise UserError(f"ONEDNN_MAX_CPU_ISA={cap} keeps oneDNN from computing in bf16; unset it, or use float32")
    if not BF16_FLAGS & cpu_flags(cpuinfo):
        raise UserError(
            f"this CPU does not compute in bf16: {cpuinfo} lists none of {', '.join(sorted(BF16_FLAGS))}; use float32"
        )
