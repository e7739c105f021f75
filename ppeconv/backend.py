"""Fast float32 training on x86 CPUs for every Paddle network in the process; off until enabled.

    from ppeconv import backend
    backend.enable()            # or `with backend.enabled():`, or backend.select("auto", "cpu")

Convolutions, batch normalisation, pooling and what lies between them then run through the oneDNN library
that the paddlepaddle wheel brings, on channels-last tensors behind ordinary [N, C, H, W] ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from ppeconv.cpu.library.cpuinfo import cpu_flags, cpu_name
from ppeconv.cpu.library.memory import keep_freed_pages
from ppeconv.cpu.library.mkl import VARIABLE as MKL_VARIABLE
from ppeconv.cpu.library.threads import threads_kept
from ppeconv.cpu.training.blend import softmax_blend
from ppeconv.cpu.training.dispatch import patches, turn_off, turn_on
from ppeconv.cpu.training.selection import VARIABLE, available, select
from ppeconv.layers import functional

__all__ = [
    "MKL_VARIABLE",
    "VARIABLE",
    "available",
    "cpu_flags",
    "cpu_name",
    "disable",
    "disabled",
    "enable",
    "enabled",
    "is_enabled",
    "keep_freed_pages",
    "select",
    "threads_kept",
]

patches.add(functional, "softmax_blend", softmax_blend)


def enable() -> None:
    """Use the fast layers from now on."""
    turn_on()


def disable() -> None:
    """Put every function of Paddle back."""
    turn_off()


def is_enabled() -> bool:
    """Whether the fast layers are in use."""
    return patches.installed


def enabled() -> contextlib.AbstractContextManager[None]:
    """The fast layers inside the block; what was before, after it."""
    return _inside(enable)


def disabled() -> contextlib.AbstractContextManager[None]:
    """Stock Paddle inside the block; what was before, after it."""
    return _inside(disable)


@contextlib.contextmanager
def _inside(change: Callable[[], None]) -> Iterator[None]:
    before = is_enabled()
    change()
    try:
        yield
    finally:
        (enable if before else disable)()
