"""The network as a function of arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppeconv.backend import onednn
from ppeconv.errors import UserError
from ppeconv.executor.graph import Graph
from ppeconv.executor.lower import lower
from ppeconv.executor.plan import Constants, Plan
from ppeconv.executor.segments import largest, segments

_CACHED = 1 << 20
"""Bytes, for each thread, of the largest result for which images are taken together: more would leave its cache."""


class Executor:
    """An exported network: float32 [N, C, H, W] -> [N, classes].

    Args:
        prefix: path of the exported files without their endings.
        threads: CPU threads; those of the process when not given.

    Raises:
        UserError: the network has an operation that is not known here, or Paddle 2 wrote it.
    """

    def __init__(self, prefix: Path, threads: int | None = None):
        graph, constants = lower(prefix), Constants()
        self._image, self._threads = graph.image, threads or onednn.threads()
        parts = segments(graph)
        self._parts = [_Part(part, constants, self._threads, part is parts[0], part is parts[-1]) for part in parts]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        expected = self._image.shape[1:]
        if images.shape[1:] != expected:
            raise UserError(f"this network takes images {list(expected)}; got {list(images.shape[1:])}")
        values = np.ascontiguousarray(images, np.float32)
        with onednn.exclusive, onednn.using_threads(self._threads):
            for part in self._parts:
                values = part(values)
        return values


class _Part:
    """A part of the network on any number of images; what comes first and last lies in memory as users expect it."""

    def __init__(self, graph: Graph, constants: Constants, threads: int, is_first: bool, is_last: bool):
        self._graph, self._constants, self._ends = graph, constants, (is_first, is_last)
        self._plans: dict[int, Plan] = {}
        self._together = max(1, _CACHED * threads // (4 * largest(graph.steps)))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        results = np.empty(self._graph.result.sized(len(values)), np.float32)
        for start in range(0, len(values), self._together):
            chunk = values[start : start + self._together]
            self._plan(len(chunk)).run(chunk.ctypes.data, results[start:].ctypes.data)
        return results

    def _plan(self, batch: int) -> Plan:
        if batch not in self._plans:
            try:
                self._plans[batch] = Plan(self._graph, batch, self._constants, *self._ends)
            except onednn.OneDNNError as error:
                raise UserError(f"the runtime onednn cannot run this network: {error}; use another runtime") from None
        return self._plans[batch]
