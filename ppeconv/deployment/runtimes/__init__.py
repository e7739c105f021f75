"""The ways to run exported networks, one file each, registered under their names."""

from __future__ import annotations

from pathlib import Path

from ppeconv.deployment.manifest import FILE, Manifest
from ppeconv.deployment.runtimes.base import Runtime, by_precision, by_preference
from ppeconv.errors import UserError
from ppeconv.registry import RUNTIMES

__all__ = ["Runtime", "by_precision", "by_preference", "held_by", "open_runtime"]


def held_by(folder: Path) -> list[str]:
    """The runtimes that a folder has files for."""
    return [name for name, kind in by_preference().items() if kind.held_by(folder)]


def open_runtime(
    folder: Path,
    name: str | None = None,
    threads: int | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> Runtime:
    """The network in a folder, ready to be called.

    Args:
        folder: what `export` wrote.
        name: of a runtime; not given, the first that the folder holds.
        threads, device, precision: see `Runtime`.

    Raises:
        UserError: there is no such runtime, or see `Runtime.open`.
    """
    held = [] if name else held_by(folder)
    if not (name or held):
        made = Manifest.read(folder).runtimes if (folder / FILE).is_file() else None
        if unknown := [other for other in made or [] if not RUNTIMES.knows(other)]:
            raise UserError(
                f"{folder} was exported to {', '.join(unknown)}, which is not registered; import the module of such a "
                "runtime first (predict --import MODULE)"
            )
        raise UserError(f"{folder} holds no exported network; make it with tools/export.py")
    return RUNTIMES.get(name or held[0]).open(folder, threads, device, precision)
