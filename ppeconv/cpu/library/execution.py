"""Recipes carried out: primitives with their memories."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping, Sequence

from ppeconv.cpu.library.onednn import (
    DST,
    SCRATCHPAD,
    SRC,
    WEIGHTS,
    Handle,
    Layout,
    OneDNNError,
    Recipe,
    engine,
    library,
    product_recipe,
)
from ppeconv.cpu.library.scratch import Scratch, aligned, exclusive

_IN_ORDER = 1

_operands, _working = Scratch(), Scratch()
"""Operands in the format a primitive prefers, and what a primitive needs besides."""


@functools.cache
def _brief_calls() -> ctypes.PyDLL:
    """The library, called without letting other threads of Python run meanwhile, which takes longer than the call."""
    return ctypes.PyDLL(library()._name)


@functools.cache
def _stream() -> Handle:
    return Handle("stream", "stream_create", engine().pointer, _IN_ORDER)


class _Argument(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("memory", ctypes.c_void_p)]


class _Memory(Handle):
    def __init__(self, layout: ctypes.c_void_p):
        super().__init__("memory", "memory_create", layout, engine().pointer, None)


class Execution:
    """A primitive and its memories; calling it with one address per argument runs it."""

    def __init__(self, recipe: Recipe, memories: dict[int, ctypes.c_void_p]):
        self._primitive = Handle("primitive", "primitive_create", recipe.pointer)
        self._memories = {kind: _Memory(layout) for kind, layout in memories.items()}
        self._pointers = [memory.pointer for memory in self._memories.values()]
        self.scratch_size = recipe.size(SCRATCHPAD)
        """Bytes that it needs besides its arguments while it runs."""
        if self.scratch_size:
            self._memories[SCRATCHPAD] = _Memory(recipe.layout(SCRATCHPAD))
        arguments = [_Argument(kind, memory.pointer.value) for kind, memory in self._memories.items()]
        self._arguments = (_Argument * len(arguments))(*arguments)
        self._point = _brief_calls().dnnl_memory_set_data_handle
        self._point.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        everything = self._primitive.pointer, _stream().pointer, len(self._arguments), self._arguments
        self._run = functools.partial(library().dnnl_primitive_execute, *everything)

    @property
    def call(self) -> tuple[int | None, ...]:
        """The words that `dnnl_primitive_execute` is called with."""
        primitive, stream = self._primitive.pointer.value, _stream().pointer.value
        return primitive, stream, len(self._arguments), ctypes.addressof(self._arguments)

    def memory(self, argument: int) -> ctypes.c_void_p:
        """The memory of a kind of argument."""
        return self._memories[argument].pointer

    def __call__(self, addresses: Sequence[int]) -> None:
        self.place(addresses)
        if self.scratch_size:
            self.work_at(_working.address(self.scratch_size))
        self.run()

    def place(self, addresses: Sequence[int]) -> None:
        """Where the arguments lie from now on."""
        for memory, address in zip(self._pointers, addresses, strict=True):
            self._point(memory, address)

    def work_at(self, address: int) -> None:
        """Where `scratch_size` bytes lie that nothing else uses while it runs."""
        if self.scratch_size:
            self._point(self._memories[SCRATCHPAD].pointer, address)

    def run(self) -> None:
        """Run on the arguments where they lie."""
        if status := self._run():
            raise OneDNNError(f"oneDNN could not run a primitive (status {status})")


class Primitive:
    """Runs a recipe on tensors in the caller's layouts, converting where the recipe prefers others.

    `inputs` and `outputs` map argument kinds to the caller's layouts (None: the recipe's own);
    a call takes one address per argument, inputs first.
    """

    def __init__(self, recipe: Recipe, inputs: Mapping[int, Layout | None], outputs: Mapping[int, Layout | None]):
        arguments = {**inputs, **outputs}
        self._run = Execution(recipe, {kind: recipe.layout(kind) for kind in arguments})
        self._before: list[tuple[int, int, Execution]] = []
        self._after: list[tuple[int, int, Execution]] = []
        self._operands_size = 0
        for position, (kind, layout) in enumerate(arguments.items()):
            preferred = recipe.layout(kind)
            if layout is None or library().dnnl_memory_desc_equal(layout.pointer, preferred):
                continue
            entry = position, self._operands_size, layout, preferred, kind in inputs
            self._operands_size += aligned(recipe.size(kind))
            self._convert(*entry)

    def _convert(self, position: int, offset: int, layout: Layout, preferred: ctypes.c_void_p, is_input: bool) -> None:
        if is_input:
            self._before.append((position, offset, reorder(layout, preferred)))
        else:
            self._after.append((position, offset, reorder(preferred, layout)))

    def __call__(self, *addresses: int) -> None:
        with exclusive:
            if self._operands_size:
                self._run_converting(list(addresses))
            else:
                self._run(addresses)

    def _run_converting(self, addresses: list[int]) -> None:
        scratch = _operands.address(self._operands_size)
        given = tuple(addresses)
        for position, offset, convert in self._before:
            addresses[position] = scratch + offset
            convert((given[position], scratch + offset))
        for position, offset, _ in self._after:
            addresses[position] = scratch + offset
        self._run(addresses)
        for position, offset, convert in self._after:
            convert((scratch + offset, given[position]))


def reorder(source: Layout | ctypes.c_void_p, target: Layout | ctypes.c_void_p) -> Execution:
    """A copy from one layout into another; called with a pair of addresses."""
    recipe = Recipe("reorder", source, engine(), target, engine())
    return Execution(recipe, {SRC: recipe.layout(SRC), DST: recipe.layout(DST)})


def matrix_product(left: Layout, right: Layout, result: Layout) -> Primitive:
    """(left, right, result): their product as `product_recipe` describes it."""
    return Primitive(product_recipe(left, right, result), {SRC: left, WEIGHTS: right}, {DST: result})
