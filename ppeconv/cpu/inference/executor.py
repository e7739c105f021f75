"""The network as a function of arrays."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ppeconv.cpu.inference.fuse import fused
from ppeconv.cpu.inference.graph import Graph
from ppeconv.cpu.inference.lower import lower
from ppeconv.cpu.inference.plan import Constants, Plan
from ppeconv.cpu.inference.segments import largest, largest_weight, segments
from ppeconv.cpu.library import onednn, openmp
from ppeconv.cpu.library.cpuinfo import second_level_cache
from ppeconv.cpu.library.scratch import exclusive
from ppeconv.cpu.library.threads import in_shares
from ppeconv.errors import UserError

_DATA_TYPES = {"float32": onednn.FLOAT32, "bf16": onednn.BFLOAT16}
_CACHED = 1 << 20
"""Bytes, for each thread, of the largest result for which images are taken together: more would leave its cache."""
_MOST_CACHED, _FEW_WEIGHTS = 2 << 20, 256 << 10
"""The same where a core's own cache is as large and no weight takes more than so many bytes of it."""
_WORTH_SHARING = 8 << 20
"""Bytes of results, for each thread, that make it worth while to wake threads which then do not wait for each other."""
_WORTH_WAKING = 300_000
"""Multiplications of a primitive, on average, below which other threads take longer to wake than they save."""
_READING = 10
"""Multiplications that take as long as to read a weight."""


class Executor:
    """An exported network: float32 [N, C, H, W] -> [N, classes].

    The threads work together on each step for few images; one of them works alone where the steps are short. Of many
    images each thread takes shares through the whole network: results stay in the cache of the processor that made
    them, and no thread waits for another. Where there are few weights to read anew, shares are small, so that a thread
    whose processor does other things, too, takes fewer of them.

    Args:
        prefix: path of the exported files without their endings.
        threads: CPU threads; those of the process when not given.
        precision: float32 or bf16, the format of activations and of the weights that multiply them; sums are float32.

    Raises:
        UserError: the network has an operation that is not known here, or Paddle 2 wrote it.
    """

    def __init__(self, prefix: Path, threads: int | None = None, precision: str = "float32"):
        graph, constants, threads = lower(prefix), Constants(), threads or openmp.threads()
        graph.set_data_type(_DATA_TYPES[precision])
        self._graph, self._image = graph, graph.image
        parts = segments(graph)
        self._together = _Line(graph, parts, constants, threads)
        self._alone = [_Line(graph, parts, constants, 1) for _ in range(threads)]
        self._largest_weight = largest_weight(graph.steps)
        self._written = sum(step.output.item_size * math.prod(step.output.shape[1:]) for step in graph.steps)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        expected = self._image.shape[1:]
        if images.shape[1:] != expected:
            raise UserError(f"this network takes images {list(expected)}; got {list(images.shape[1:])}")
        values = np.ascontiguousarray(images, np.float32)
        with exclusive:
            if self._is_worth_sharing(len(values)):
                return self._shared(values)
            return self._together(values) if self._is_worth_waking(len(values)) else self._alone[0](values)

    @functools.cached_property
    def _per_primitive(self) -> tuple[float, float]:
        """Multiplications for one image and weights of a primitive, on average."""
        steps, primitives = self._graph.steps, len(fused(self._graph, 1))
        return sum(step.products for step in steps) / primitives, sum(step.weights for step in steps) / primitives

    def _is_worth_waking(self, batch: int) -> bool:
        products, weights = self._per_primitive
        return len(self._alone) == 1 or batch * products + _READING * weights >= _WORTH_WAKING

    def _is_worth_sharing(self, batch: int) -> bool:
        threads = len(self._alone)
        return threads > 1 and batch >= 2 * threads and batch * self._written >= threads * _WORTH_SHARING

    def _shared(self, values: np.ndarray) -> np.ndarray:
        shares = np.array_split(values, self._shares(len(values)))
        results: dict[int, np.ndarray] = {}
        numbers = iter(range(len(shares)))

        def work(thread: int) -> None:
            for number in numbers:
                results[number] = self._alone[thread](shares[number])

        in_shares(work, len(self._alone))
        return np.concatenate([results[number] for number in range(len(shares))])

    def _shares(self, images: int) -> int:
        """How many, a multiple of the threads: of as many images as the first part takes together, or one for each
        thread where weights are many, which every share reads anew."""
        threads = len(self._alone)
        if self._largest_weight > _FEW_WEIGHTS:
            return threads
        return threads * max(1, images // (threads * self._alone[0].parts[0].images_together))


class _Line:
    """The parts of the network in succession, each step run by a number of threads; the whole at once for few images,
    where what lies between the parts would only be copied."""

    def __init__(self, graph: Graph, parts: Sequence[Graph], constants: Constants, threads: int):
        self._threads = threads
        self.whole = _Part(graph, constants, threads, True, True)
        """For as many images as its largest result lets it take together."""
        self.parts = [_Part(it, constants, threads, it is parts[0], it is parts[-1]) for it in parts]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        few = len(self.parts) == 1 or len(values) <= self.whole.images_together
        with openmp.using_threads(self._threads):
            for part in [self.whole] if few else self.parts:
                values = part(values)
        return values


class _Part:
    """A part of the network on any number of images; what comes first and last lies in memory as users expect it."""

    def __init__(self, graph: Graph, constants: Constants, threads: int, is_first: bool, is_last: bool):
        self._graph, self._constants, self._ends = graph, constants, (is_first, is_last)
        self._plans: dict[int, Plan] = {}
        self._given = np.dtype(np.float32) if is_last else np.dtype(f"V{graph.result.item_size}")
        has_room = largest_weight(graph.steps) <= _FEW_WEIGHTS and second_level_cache() >= _MOST_CACHED
        cached = _MOST_CACHED if has_room else _CACHED
        self.images_together = max(1, cached * threads // largest(graph.steps))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        results = np.empty(self._graph.result.sized(len(values)), self._given)
        for start in range(0, len(values), self.images_together):
            chunk = values[start : start + self.images_together]
            self._plan(len(chunk)).run(chunk.ctypes.data, results[start:].ctypes.data)
        return results

    def _plan(self, batch: int) -> Plan:
        if batch not in self._plans:
            try:
                self._plans[batch] = Plan(self._graph, batch, self._constants, *self._ends)
            except onednn.OneDNNError as error:
                raise UserError(f"the runtime onednn cannot run this network: {error}; use another runtime") from None
        return self._plans[batch]
