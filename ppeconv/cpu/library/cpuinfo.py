"""What the operating system says of the CPU."""

from __future__ import annotations

import os
import platform
from pathlib import Path

LEVELS = {
    "AMX": "amx_tile",
    "AVX-512 bf16": "avx512_bf16",
    "AVX-512": "avx512f",
    "AVX2": "avx2",
    "SSE4.1": "sse4_1",
}
"""Instruction sets that kernels are written for, the newest first, each with the flag that tells of it."""


BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
_CAPS_BELOW_BF16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"}


def cpu_facts(file: Path = Path("/proc/cpuinfo")) -> dict[str, list[str]]:
    """The words behind each key of the first CPU, such as `flags`; empty where there is no such file."""
    try:
        first = file.read_text().split("\n\n")[0]
    except OSError:
        return {}
    lines = dict(line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.split() for key, value in lines.items()}


def cpu_flags(file: Path = Path("/proc/cpuinfo")) -> set[str]:
    """The instruction sets and other features that the CPU has, as Linux names them."""
    return set(cpu_facts(file).get("flags", []))


def second_level_cache(file: Path = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")) -> int:
    """Bytes of it that the first core has; 0 where the operating system does not tell."""
    try:
        text = file.read_text().strip()
    except OSError:
        return 0
    return int(text[:-1]) << 10 if text.endswith("K") and text[:-1].isdecimal() else 0


def lack_of_bf16(file: Path = Path("/proc/cpuinfo")) -> str | None:
    """Why oneDNN would imitate bfloat16 on this CPU, which is slower than float32; None where it computes in it."""
    cap = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    if cap.upper() in _CAPS_BELOW_BF16:
        return f"ONEDNN_MAX_CPU_ISA={cap}, which may be unset, keeps oneDNN from computing in bf16"
    if not BF16_FLAGS & cpu_flags(file):
        return f"this CPU does not compute in bf16: {file} lists none of {', '.join(sorted(BF16_FLAGS))}"
    return None


def cpu_name(file: Path = Path("/proc/cpuinfo")) -> str:
    """What the CPU calls itself, which of that name it is, and its newest instruction set.

    "AMD EPYC (family 26, model 2), AVX-512 bf16": in a virtual machine, generations of processors have one name.
    """
    facts = cpu_facts(file)
    name = " ".join(facts.get("model name", [])) or platform.processor() or platform.machine()
    if (family := facts.get("cpu family")) and (model := facts.get("model")):
        name += f" (family {family[0]}, model {model[0]})"
    level = next((level for level, flag in LEVELS.items() if flag in facts.get("flags", [])), None)
    return f"{name}, {level}" if level else name
