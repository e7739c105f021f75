"""The number format that a runtime computes in."""

from __future__ import annotations

from pathlib import Path

from ppeconv.errors import UserError


def require_bf16(device: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Raise a UserError unless it is a CPU that computes in bfloat16; others would imitate it and be slower."""
    from ppeconv.backend import lack_of_bf16

    if device != "cpu":
        raise UserError(f"bf16 is for the CPU here; got device {device!r}")
    if lack := lack_of_bf16(cpuinfo):
        raise UserError(f"{lack}; use float32")
