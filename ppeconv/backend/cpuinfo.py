"""What the operating system says of the CPU."""

from __future__ import annotations

from pathlib import Path


def cpu_facts(file: Path = Path("/proc/cpuinfo")) -> dict[str, list[str]]:
    """The words behind each key of the first CPU, such as `flags`; empty where there is no such file."""
    try:
        first = file.read_text().split("\n\n")[0]
    except OSError:
        return {}
    lines = dict(line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.split() for key, value in lines.items()}
