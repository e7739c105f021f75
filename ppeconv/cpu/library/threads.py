"""Work of one's own on the threads that the bundled libraries compute with.

Threads of Python beside them would compete for the same cores: OpenMP's go on turning for a while after each
operation, waiting for the next one.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import numpy as np

from ppeconv.cpu.library import mkl, openmp
from ppeconv.cpu.library.scratch import Scratch, aligned

Tool = TypeVar("Tool")

workspace = Scratch()
"""Memory for the shares of one piece of work, which holds `exclusive`."""

_WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@contextmanager
def threads_kept() -> Iterator[None]:
    """Whatever number of threads is set inside the block, what computes behind it has those from before."""
    try:
        library = openmp.library()
    except OSError:  # no library whose threads could be told
        yield
        return
    multiplier, before = mkl.library(), openmp.threads()
    multiplying = multiplier and multiplier.MKL_Get_Max_Threads()
    try:
        yield
    finally:
        library.omp_set_num_threads(before)
        if multiplier:
            multiplier.MKL_Set_Num_Threads(multiplying)


def in_shares(work: Callable[[int], None], shares: int) -> None:
    """Call work(0), work(1), ... side by side.

    What oneDNN runs in there, it runs on the calling thread alone. NumPy says nothing of numbers that are not finite,
    as Paddle does not.
    """
    if shares == 1:
        with np.errstate(all="ignore"):
            return work(0)
    library, failures = openmp.library(), []

    def part(_: None) -> None:
        try:
            with np.errstate(all="ignore"):
                for share in range(library.omp_get_thread_num(), shares, library.omp_get_num_threads()):
                    work(share)
        except BaseException as failure:
            failures.append(failure)

    library.GOMP_parallel(_WORK(part), None, shares, 0)
    if failures:
        raise failures[0]


class Pieces:
    """A batch of images dealt out to threads, of which each takes its share a few images at a time."""

    def __init__(self, images: int, threads: int, together: int):
        self.shares, self._threads = min(threads, images), threads
        bounds = [images * share // self.shares for share in range(self.shares + 1)]
        self.of_share = [
            [slice(start, min(start + together, end)) for start in range(first, end, together)]
            for first, end in itertools.pairwise(bounds)
        ]
        """Of each share, the images of one step after the other."""
        self.sizes = sorted({it.stop - it.start for share in self.of_share for it in share})
        """The numbers of images that a step may have."""

    def tools(self, make: Callable[[int], Tool]) -> list[dict[int, Tool]]:
        """For each share what is made to work on a number of images, by that number."""
        with openmp.using_threads(self._threads if self.shares == 1 else 1):
            return [{size: make(size) for size in self.sizes} for _ in range(self.shares)]


class _Working(Protocol):
    scratch_size: int


def scratch_size(tools: Sequence[Mapping[int, _Working]]) -> int:
    """Bytes that any of the tools may need besides its arguments."""
    return max(aligned(it.scratch_size) for by_size in tools for it in by_size.values())
