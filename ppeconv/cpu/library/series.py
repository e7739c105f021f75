"""Many primitives run by one call.

Between two calls of its own Python takes up to a microsecond, as long as a short primitive, and the threads of Python
wait for one another there. No compiler is needed: the loop that makes the calls is 56 bytes of x86-64 code.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
from collections.abc import Callable, Sequence

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


class _Call(ctypes.Structure):
    _fields_ = [
        ("function", ctypes.c_void_p),
        ("primitive", ctypes.c_void_p),
        ("stream", ctypes.c_void_p),
        ("count", ctypes.c_long),
        ("arguments", ctypes.c_void_p),
    ]


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

    def __call__(self, calls: ctypes.Array[_Call], count: int) -> int:
        return self._function(calls, count)


def _one_by_one(calls: ctypes.Array[_Call], count: int) -> int:
    for call in calls[:count]:
        arguments = (ctypes.c_void_p(it) for it in (call.primitive, call.stream))
        status = library().dnnl_primitive_execute(*arguments, call.count, ctypes.c_void_p(call.arguments))
        if status:
            return status
    return 0


@functools.cache
def _loop() -> Callable[[ctypes.Array[_Call], int], int]:
    try:
        return _Loop()
    except OSError:
        return _one_by_one


class Series:
    """Executions, run one after the other on their arguments where they lie.

    Raises:
        OneDNNError: one of them failed; those behind it did not run.
    """

    def __init__(self, executions: Sequence[Execution]):
        function = ctypes.cast(library().dnnl_primitive_execute, ctypes.c_void_p)
        self._executions = executions
        calls = (_Call(function, *it.call[:3], ctypes.addressof(it.call[3])) for it in executions)
        self._calls = (_Call * len(executions))(*calls)
        self._run = functools.partial(_loop(), self._calls, len(executions))

    def run(self) -> None:
        """Run them."""
        if status := self._run():
            raise OneDNNError(f"oneDNN could not run a primitive (status {status})")
