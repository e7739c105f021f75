"""Work of one's own on the threads that the bundled libraries compute with.

Threads of Python beside them would compete for the same cores: OpenMP's go on turning for a while after each
operation, waiting for the next one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from . import onednn

_WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def in_shares(work: Callable[[int], None], shares: int) -> None:
    """Call work(0), work(1), ... side by side; what oneDNN runs in there, it runs on the calling thread alone."""
    if shares == 1:
        return work(0)
    openmp, failures = onednn.openmp(), []

    def part(_: None) -> None:
        try:
            for share in range(openmp.omp_get_thread_num(), shares, openmp.omp_get_num_threads()):
                work(share)
        except BaseException as failure:
            failures.append(failure)

    openmp.GOMP_parallel(_WORK(part), None, shares, 0)
    if failures:
        raise failures[0]
