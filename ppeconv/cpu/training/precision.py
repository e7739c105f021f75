"""The number format in which convolutions multiply: float32, or bfloat16 with sums in float32."""

from __future__ import annotations

import functools
from pathlib import Path

import paddle

from ppeconv.cpu.library import onednn, openmp
from ppeconv.cpu.library.cpuinfo import lack_of_bf16
from ppeconv.cpu.library.execution import Execution, reorder
from ppeconv.cpu.library.scratch import exclusive
from ppeconv.cpu.training import layout
from ppeconv.errors import UserError

PRECISIONS = {"float32": onednn.FLOAT32, "bf16": onednn.BFLOAT16}
_FORMATS = {dtype: data_type for data_type, dtype in layout.PADDLE_TYPES.items()}


class _Choice:
    name = "float32"


def in_use() -> str:
    """The name of the precision in use."""
    return _Choice.name


def data_type() -> int:
    """What is multiplied now, as oneDNN calls it."""
    return PRECISIONS[_Choice.name]


def use(name: str) -> None:
    """Multiply so from now on; raises a UserError for what is none, and where the CPU would only imitate it."""
    require(name)
    _Choice.name = name


def require(name: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Raise a UserError unless this CPU computes in a precision."""
    if name not in PRECISIONS:
        raise UserError(f"the fast CPU layers have no precision {name!r}; allowed: {', '.join(PRECISIONS)}")
    if name == "bf16" and (lack := lack_of_bf16(cpuinfo)):
        raise UserError(f"{lack}; train in float32")


def rounded(tensor: paddle.Tensor, data_type: int) -> paddle.Tensor:
    """A contiguous tensor's numbers in a format of oneDNN's; itself where they have it."""
    source = _FORMATS[tensor.dtype]
    if source == data_type:
        return tensor
    result = layout.new(tensor.shape, data_type)
    convert = _conversion(tensor.size, source, data_type, openmp.threads())
    with exclusive:
        convert((tensor.data_ptr(), result.data_ptr()))
    return result


@functools.lru_cache(maxsize=1024)
def _conversion(size: int, source: int, target: int, _threads: int) -> Execution:
    return reorder(onednn.dense([size], source), onednn.dense([size], target))
