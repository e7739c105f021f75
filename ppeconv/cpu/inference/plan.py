"""A graph made ready for a number of images: every primitive built, every result given its place in memory."""

from __future__ import annotations

import ctypes
import math
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence

import paddle

from ppeconv.cpu.inference import copies, primitives
from ppeconv.cpu.inference.fuse import fused
from ppeconv.cpu.inference.graph import Graph, Step, Value
from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.execution import Execution, reorder
from ppeconv.cpu.library.scratch import aligned
from ppeconv.cpu.library.series import Series

# Bytes left free behind each result, so that few lie whole pages apart: a processor takes a store for one that a load
# has to wait for where the addresses differ in their higher bits alone.
_STAGGERED = 576


class Constants:
    """Weights in the formats that primitives prefer, each kept once for all threads."""

    def __init__(self):
        self._one_at_a_time = threading.Lock()
        self._kept: dict[Value, list[tuple[onednn.Recipe, ctypes.c_void_p, paddle.Tensor]]] = defaultdict(list)

    def address(self, value: Value, layout: onednn.Layout, recipe: onednn.Recipe, argument: int) -> int:
        """Where a constant, stored in a layout, lies as a recipe's argument."""
        with self._one_at_a_time:
            return self._address(value, layout, recipe, argument)

    def _address(self, value: Value, layout: onednn.Layout, recipe: onednn.Recipe, argument: int) -> int:
        wanted, equal = recipe.layout(argument), onednn.library().dnnl_memory_desc_equal
        for _, found, tensor in self._kept[value]:
            if equal(found, wanted):
                return tensor.data_ptr()
        source = paddle.to_tensor(value.constant, "float32")
        tensor = paddle.empty([recipe.size(argument)], "uint8")
        reorder(layout, wanted)((source.data_ptr(), tensor.data_ptr()))
        self._kept[value].append((recipe, wanted, tensor))
        return tensor.data_ptr()


class Plan:
    """Runs a graph on a number of images; made for the number of threads that is set when it is made.

    Args:
        graph: a network, or a part of one.
        batch: images.
        constants: the weights.
        is_first, is_last: what is read, and given, is float32 [N, C, H, W] in memory, not channels-last.
    """

    def __init__(self, graph: Graph, batch: int, constants: Constants, is_first: bool, is_last: bool):
        steps = fused(graph, batch)
        self._batch, self._constants = batch, constants
        self._places, size = _placed(graph, steps, batch)
        self._arena = paddle.empty([size], "uint8")
        self._start = aligned(self._arena.data_ptr())
        image, result = (primitives.image_layout(value, batch) for value in (graph.image, graph.result))
        self._enter = reorder(onednn.dense(graph.image.sized(batch)) if is_first else image, image)
        self._leave = reorder(result, onednn.dense(graph.result.sized(batch)) if is_last else result)
        self._image, self._result = self._address(graph.image), self._address(graph.result)
        built = [execution for step in steps for execution in self._built(step)]
        executions = [self._enter, *built, self._leave]
        self._scratch = _shared_scratch(executions)
        self._series = Series(executions)

    def run(self, images: int, results: int) -> None:
        """Read images at one address and write results at the other."""
        self._enter.place((images, self._image))
        self._leave.place((self._result, results))
        self._series.run()

    def _address(self, value: Value) -> int:
        return self._start + self._places[value.root] + value.item_size * value.offset

    def _built(self, step: Step) -> list[Execution]:
        if copies.is_copy(step):
            return [self._copied(copy) for copy in copies.copies(step, self._batch)]
        recipe, arguments = primitives.recipe(step, self._batch), primitives.arguments(step)
        execution = Execution(recipe, {kind: recipe.layout(kind) for kind in arguments})
        execution.place([self._operand(step, recipe, kind, value) for kind, value in arguments.items()])
        return [execution]

    def _copied(self, copy: copies.Copy) -> Execution:
        execution = reorder(copy.source_layout, copy.target_layout)
        ends = (copy.source, copy.source_offset), (copy.target, copy.target_offset)
        execution.place([self._address(value) + value.item_size * offset for value, offset in ends])
        return execution

    def _operand(self, step: Step, recipe: onednn.Recipe, kind: int, value: Value) -> int:
        if value.constant is None:
            return self._address(value)
        return self._constants.address(value, primitives.stored(step, kind, value), recipe, kind)


def _shared_scratch(executions: Iterable[Execution]) -> paddle.Tensor:
    """One buffer for all, as they run one after the other."""
    buffer = paddle.empty([max(execution.scratch_size for execution in executions)], "uint8")
    for execution in executions:
        execution.work_at(buffer.data_ptr())
    return buffer


def _placed(graph: Graph, steps: Sequence[Step], batch: int) -> tuple[dict[Value, int], int]:
    """The place of each result, where no other lies as long as it is needed, and the bytes of all."""
    last = {value.root: number for number, step in enumerate(steps) for value in step.operands}
    last[graph.result.root] = len(steps)
    places: dict[Value, int] = {}
    taken: list[tuple[int, int, Value]] = []
    end = 0

    def place(value: Value) -> None:
        nonlocal end
        size, start = aligned(value.item_size * math.prod(value.sized(batch))) + _STAGGERED, 0
        for begin, behind, _ in sorted(taken, key=lambda it: it[0]):
            if begin - start >= size:
                break
            start = max(start, behind)
        taken.append((start, start + size, value))
        places[value], end = start, max(end, start + size)

    place(graph.image)
    for number, step in enumerate(steps):
        place(step.output.root)
        taken = [entry for entry in taken if last.get(entry[2], number) > number]
    # Of an image of which a part is read from an offset on, as many numbers may be read behind it.
    beyond = max((value.item_size * value.offset for step in steps for value in step.operands), default=0)
    return places, end + aligned(1) + beyond
