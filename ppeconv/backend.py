"""Fast training on x86 CPUs for every Paddle network in the process; off until enabled.

    from ppeconv import backend
    backend.enable()            # or `with backend.enabled():`, or backend.select("auto", "cpu")
    backend.enable("bf16")      # activations and products in bfloat16, on CPUs that have it; weights stay float32

Convolutions, batch normalisation, pooling and what lies between them then run through the oneDNN library
that the paddlepaddle wheel brings, on channels-last tensors behind ordinary [N, C, H, W] ones.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

from ppeconv.cpu.library.cpuinfo import cpu_flags, cpu_name, lack_of_bf16
from ppeconv.cpu.library.memory import keep_freed_pages
from ppeconv.cpu.library.mkl import VARIABLE as MKL_VARIABLE
from ppeconv.cpu.library.threads import threads_kept
from ppeconv.cpu.training.blend import softmax_blend
from ppeconv.cpu.training.dispatch import patches, turn_off, turn_on
from ppeconv.cpu.training.precision import in_use as precision
from ppeconv.cpu.training.resample import upsample
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
    "lack_of_bf16",
    "precision",
    "select",
    "threads_kept",
]

patches.add(functional, "softmax_blend", softmax_blend)
patches.add(functional, "upsample", upsample)


def enable(precision: str = "float32") -> None:
    """Use the fast layers from now on.

    Args:
        precision: of this thread, "float32" or "bf16": convolutions and their gradients multiply bfloat16 numbers and
            add them up in float32, and the fast layers hand bfloat16 activations to each other. Weights, statistics,
            and whatever Paddle's own operators compute stay float32.

    Raises:
        UserError: for another precision, and for bf16 on a CPU that would only imitate it.
    """
    turn_on(precision)


def disable() -> None:
    """Put every function of Paddle back."""
    turn_off()


def is_enabled() -> bool:
    """Whether the fast layers are in use."""
    return patches.installed


def enabled(precision: str = "float32") -> contextlib.AbstractContextManager[None]:
    """The fast layers, in a precision as for `enable`, inside the block; what was before, after it."""
    return _inside(functools.partial(enable, precision))


def disabled() -> contextlib.AbstractContextManager[None]:
    """Stock Paddle inside the block; what was before, after it."""
    return _inside(disable)


@contextlib.contextmanager
def _inside(change: Callable[[], None]) -> Iterator[None]:
    before, numbers = is_enabled(), precision()
    change()
    try:
        yield
    finally:
        if before:
            enable(numbers)
        else:
            disable()
