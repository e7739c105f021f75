"""The number format in which the fast layers compute: float32, or bfloat16 with sums and statistics in float32.

In bfloat16 the layers hand bfloat16 activations to each other. Most of Paddle's own kernels for the CPU take none, so
Paddle is told, as its mixed precision would be, to convert them to float32 for every operator of its own.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from paddle import _C_ops
from paddle.base import core
from paddle.base.framework import OpProtoHolder, _dygraph_tracer

from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.cpuinfo import lack_of_bf16
from ppeconv.errors import UserError

PRECISIONS = {"float32": onednn.FLOAT32, "bf16": onednn.BFLOAT16}
_CONVERTING, _AS_GIVEN = core.AmpLevel.O1, core.AmpLevel.O0


class _Choice(threading.local):
    name = "float32"
    before: tuple = ()
    """What Paddle's mixed precision was set to."""


class _Lists:
    """Of the operators that Paddle converts for; all threads share them, so that they go back with the last one."""

    def __init__(self):
        self._changing, self._threads = threading.Lock(), 0
        self._before: tuple[set[str], set[str]] = set(), set()

    def take(self, tracer: Any) -> None:
        with self._changing:
            if not self._threads:
                self._before = tracer._get_amp_op_list()
                tracer._set_amp_op_list(set(), _operators())
            self._threads += 1

    def give_back(self, tracer: Any) -> None:
        with self._changing:
            self._threads -= 1
            if not self._threads:
                tracer._set_amp_op_list(*self._before)


_choice, _lists = _Choice(), _Lists()


def in_use() -> str:
    """The name of the precision that this thread computes in."""
    return _choice.name


def data_type() -> int:
    """The same as oneDNN calls it."""
    return PRECISIONS[_choice.name]


def use(name: str) -> None:
    """Compute so from now on, in this thread.

    Raises a UserError for what is no precision, and where the CPU would only imitate it.
    """
    require(name)
    if name == _choice.name:
        return
    tracer = _dygraph_tracer()
    if name == "float32":
        tracer._amp_level, tracer._amp_dtype = _choice.before
        _lists.give_back(tracer)
    else:
        _choice.before = tracer._amp_level, tracer._amp_dtype
        _lists.take(tracer)
        tracer._amp_level, tracer._amp_dtype = _CONVERTING, "bfloat16"
    _choice.name = name


def require(name: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Raise a UserError unless this CPU computes in a precision."""
    if name not in PRECISIONS:
        raise UserError(f"the fast CPU layers have no precision {name!r}; allowed: {', '.join(PRECISIONS)}")
    if name == "bf16" and (lack := lack_of_bf16(cpuinfo)):
        raise UserError(f"{lack}; train in float32")


@functools.cache
def _operators() -> set[str]:
    """By all the names that they go by."""
    return {*OpProtoHolder.instance().op_proto_map, *dir(_C_ops)}


@contextlib.contextmanager
def as_given() -> Iterator[None]:
    """Inside the block Paddle's operators take bfloat16 as it is."""
    tracer = _dygraph_tracer()
    before = tracer._amp_level
    tracer._amp_level = _AS_GIVEN
    try:
        yield
    finally:
        tracer._amp_level = before


def amp_guard(original: Callable[..., contextlib.AbstractContextManager]) -> Callable:
    """Paddle's mixed precision, which does nothing on a CPU; here it would end the conversion of what operators get."""

    @contextlib.contextmanager
    def guard(*arguments, **named):
        with contextlib.nullcontext() if in_use() == "bf16" else original(*arguments, **named):
            yield

    return guard
