"""Memory between the steps of one piece of work, and who may use it."""

from __future__ import annotations

import ctypes
import functools
import math
import os
import threading
from typing import Any, ClassVar

import numpy as np
import paddle

exclusive = threading.RLock()
"""Held by what runs primitives, which share scratch memory; a process forks only while nothing does."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=exclusive.acquire, after_in_parent=exclusive.release, after_in_child=exclusive.release)


class Scratch:
    """One growing buffer, valid during one call."""

    _every: ClassVar[list[Scratch]] = []

    def __init__(self):
        self._buffer, self._size, self._start = None, 0, 0
        self._every.append(self)

    @classmethod
    def release(cls) -> None:
        """Give the memory of all of them back."""
        with exclusive:
            for scratch in cls._every:
                scratch._buffer, scratch._size = None, 0

    def address(self, size: int) -> int:
        """Where that many bytes lie."""
        if size > self._size:
            self._buffer, self._size = paddle.empty([size], "uint8"), size
            self._start = self._buffer.data_ptr()
        return self._start


def aligned(size: int) -> int:
    """Bytes to the next place where oneDNN likes memory to begin."""
    return -(-size // 64) * 64


@functools.lru_cache(maxsize=2048)
def array_at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 array that lies at an address; valid as long as its memory is."""
    # Cached: tensors lie where they lay a step before, and making the array takes ten times as long as finding it. One
    # whose memory is gone is never used, as only who holds memory asks for its address.
    numbers: Any = (ctypes.c_float * math.prod(shape)).from_address(address)
    return np.frombuffer(numbers, np.float32).reshape(shape)
