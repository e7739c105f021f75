"""The number format in which the fast layers compute: float32, or bfloat16 with sums and statistics in float32.

In bfloat16 the layers hand bfloat16 activations to each other. Most of Paddle's own kernels for the CPU take none, so
Paddle is told, as its mixed precision would be, to convert them to float32 for every operator of its own.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from pathlib import Path

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


_choice = _Choice()


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
        tracer._amp_level, tracer._amp_dtype, lists = _choice.before
        tracer._set_amp_op_list(*lists)
    else:
        _choice.before = tracer._amp_level, tracer._amp_dtype, tracer._get_amp_op_list()
        tracer._set_amp_op_list(set(), _operators())
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
