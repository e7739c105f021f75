"""Many primitives run by one call.

Between two calls of its own Python takes up to a microsecond, as long as a short primitive, and the threads of Python
wait for one another there. No compiler is needed: the loop that makes the calls is 56 bytes of x86-64 code.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ppeconv.cpu.library.execution import Execution
from ppeconv.cpu.library.onednn import OneDNNError, library

_LOOP = bytes.fromhex(
    "f30f1efa"  # endbr64
    "53"  # push rbx
    "4154"  # push r12
    "4883ec08"  # sub rsp, 8
    "4889fb"  # mov rbx, rdi         the next call
    "4989f4"  # mov r12, rsi         how many are left
    "488b7b08"  # next: mov rdi, [rbx + 8]
    "488b7310"  # mov rsi, [rbx + 16]
    "488b5318"  # mov rdx, [rbx + 24]
    "488b4b20"  # mov rcx, [rbx + 32]
    "ff13"  # call [rbx]
    "85c0"  # test eax, eax
    "7509"  # jne done
    "4883c328"  # add rbx, 40
    "49ffcc"  # dec r12
    "75e1"  # jne next
    "4883c408"  # done: add rsp, 8
    "415c"  # pop r12
    "5b"  # pop rbx
    "c3"  # ret
)
"""int loop(struct call *first, long count): the calls in turn, to the first whose status is not 0, which it returns."""


_Words = np.ndarray[Any, np.dtype[np.uintp]]
"""[calls, 5]: of each call the function and four arguments."""
_MOVED_TO = 2
"""Which of the words of a call that moves a memory is where to."""


class _Loop:
    """`_LOOP` in memory that may be executed and no longer written; raises OSError where the system forbids that."""

    def __init__(self):
        self._memory = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._memory.write(_LOOP)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        place = ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_EXEC
        if ctypes.CDLL(None).mprotect(*place):
            raise OSError("this process may not execute memory of its own")
        self._function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_long)(address)

    def __call__(self, calls: _Words) -> int:
        return self._function(calls.ctypes.data, len(calls))


def _one_by_one(calls: _Words) -> int:
    for function, *arguments in calls.tolist():
        if status := _AnyCall(function)(*arguments):
            return status
    return 0


_AnyCall = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_size_t] * 4)


@functools.cache
def _loop() -> Callable[[_Words], int]:
    try:
        return _Loop()
    except OSError:
        return _one_by_one


class Move(NamedTuple):
    """From now on an argument lies so many bytes behind one of the addresses that a series is run with."""

    execution: Execution
    argument: int
    address: int
    """The number of it."""
    offset: int = 0


class Series:
    """Executions, run one after the other on their arguments where they lie, and moves of those between them."""

    def __init__(self, steps: Sequence[Execution | Move]):
        execute, move = (
            ctypes.cast(it, ctypes.c_void_p).value
            for it in (library().dnnl_primitive_execute, library().dnnl_memory_set_data_handle)
        )
        self._steps = steps
        self._calls: _Words = np.zeros([len(steps), 5], np.uintp)
        moves: dict[int, list[tuple[int, int]]] = {}
        for number, step in enumerate(steps):
            if isinstance(step, Move):
                self._calls[number, :2] = move, step.execution.memory(step.argument).value
                moves.setdefault(step.address, []).append((number, step.offset))
            else:
                self._calls[number] = execute, *step.call
        self._moves = [(address, *np.array(of_it, np.uintp).T) for address, of_it in moves.items()]

    def run(self, *addresses: int) -> None:
        """Run them; raises OneDNNError where one fails, behind which none runs."""
        for address, numbers, offsets in self._moves:
            self._calls[numbers, _MOVED_TO] = offsets + np.uintp(addresses[address])
        if status := _loop()(self._calls):
            raise OneDNNError(f"oneDNN could not run a primitive (status {status})")
