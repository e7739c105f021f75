"""How many threads the bundled libraries compute with."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager

from ppeconv.cpu.library import wheel


@functools.cache
def library() -> ctypes.CDLL:
    """The OpenMP library that oneDNN and Paddle share."""
    return wheel.load("libiomp5.so")


def threads() -> int:
    """How many threads a primitive built now would use."""
    return library().omp_get_max_threads()


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """While this is open, primitives use that many threads."""
    before = threads()
    library().omp_set_num_threads(count)
    try:
        yield
    finally:
        library().omp_set_num_threads(before)
