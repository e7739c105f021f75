"""A graph in parts, each of which takes as many images together as suits the size of its results."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ppeconv.cpu.inference.graph import Graph, Step, Value

_FUSED = "binary", "function"
"""Steps that the one before may do while it stores its result."""


def segments(graph: Graph) -> list[Graph]:
    """The graph cut where a single result is all that later steps read, and all that follow are half as large or less.

    With few images together, large results stay in the processor's caches between the steps; with many, the weights of
    the later layers are not read again for every few images.
    """
    parts, begin, start = [], 0, graph.image
    for end in range(1, len(graph.steps)):
        before, after = graph.steps[begin:end], graph.steps[end:]
        if after[0].kind in _FUSED:
            continue
        crossing = _crossing(before, after, start, graph.result)
        if len(crossing) == 1 and 2 * largest(after) <= largest(before):
            (value,) = crossing
            parts.append(Graph(start, value, before))
            begin, start = end, value
    return [*parts, Graph(start, graph.result, graph.steps[begin:])]


def largest(steps: Sequence[Step]) -> int:
    """Bytes of the largest result that the steps read or give for one image."""
    values = [value for step in steps for value in (*step.operands, step.output) if value.constant is None]
    return max(value.item_size * math.prod(value.shape[1:]) for value in values)


def largest_weight(steps: Sequence[Step]) -> int:
    """Bytes of the largest constant that the steps read, as float32."""
    return max(
        (4 * math.prod(value.shape) for step in steps for value in step.operands if value.constant is not None),
        default=0,
    )


def _crossing(before: Sequence[Step], after: Sequence[Step], start: Value, result: Value) -> set[Value]:
    """What the later steps read of what is there before them."""
    there = {start, *(step.output for step in before)}
    return there & {result.root, *(value.root for step in after for value in step.operands)}
