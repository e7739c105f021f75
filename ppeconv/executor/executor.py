"""The network as a function of arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppeconv.backend import onednn
from ppeconv.errors import UserError
from ppeconv.executor.lower import lower
from ppeconv.executor.plan import Constants, Plan

_CACHED = 1 << 20
"""Bytes of the largest result for which images are taken together: more of them would leave the processor's caches."""


class Executor:
    """An exported network: float32 [N, C, H, W] -> [N, classes].

    Args:
        prefix: path of the exported files without their endings.
        threads: CPU threads; those of the process when not given.

    Raises:
        UserError: the network has an operation that is not known here, or Paddle 2 wrote it.
    """

    def __init__(self, prefix: Path, threads: int | None = None):
        self._graph, self._constants = lower(prefix), Constants()
        self._threads = threads or onednn.threads()
        self._plans: dict[int, Plan] = {}
        largest = max(4 * int(np.prod(step.output.shape[1:])) for step in self._graph.steps)
        self._together = max(1, _CACHED * self._threads // largest)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        expected = self._graph.image.shape[1:]
        if images.shape[1:] != expected:
            raise UserError(f"this network takes images {list(expected)}; got {list(images.shape[1:])}")
        images = np.ascontiguousarray(images, np.float32)
        results = np.empty(self._graph.result.sized(len(images)), np.float32)
        with onednn.exclusive, onednn.using_threads(self._threads):
            for start in range(0, len(images), self._together):
                chunk = images[start : start + self._together]
                self._plan(len(chunk)).run(chunk.ctypes.data, results[start:].ctypes.data)
        return results

    def _plan(self, batch: int) -> Plan:
        if batch not in self._plans:
            try:
                self._plans[batch] = Plan(self._graph, batch, self._constants)
            except onednn.OneDNNError as error:
                raise UserError(f"the runtime onednn cannot run this network: {error}; use another runtime") from None
        return self._plans[batch]
