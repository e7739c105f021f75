"""Which of Paddle's functions have stand-ins: installs them and puts the originals back."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable

import paddle
from paddle import Tensor, _C_ops
from paddle.base import dygraph_utils
from paddle.nn import functional

from ppeconv.cpu.library import memory, mkl
from ppeconv.cpu.library.scratch import Scratch
from ppeconv.cpu.training import broadcast, calls, elementwise, function, gradients, precision, rectify, resample

_added = functools.partial(elementwise.binary, gated=broadcast.Add, is_sum=True)
_multiplied = functools.partial(elementwise.binary, gated=broadcast.Multiply)

_STAND_INS: list[tuple[object, str, Callable]] = [
    (_C_ops, "conv2d", calls.conv2d),
    (_C_ops, "depthwise_conv2d", calls.depthwise_conv2d),
    (functional.conv, "_conv_nd", calls.convolution),
    (functional.conv, "conv2d", calls.with_bias),
    (functional, "conv2d", calls.with_bias),
    (_C_ops, "batch_norm", calls.batch_norm),
    (_C_ops, "pool2d", calls.pool2d),
    (_C_ops, "nearest_interp", resample.nearest_interp),
    (_C_ops, "relu", rectify.relu),
    (_C_ops, "mean", calls.mean),
    (_C_ops, "concat", calls.concat),
    (_C_ops, "split", calls.split),
    (_C_ops, "split_with_num", calls.split_with_num),
    (_C_ops, "channel_shuffle", calls.channel_shuffle),
    (Tensor, "__getitem__", calls.getitem),
    (Tensor, "register_hook", gradients.register_hook),
    (Tensor, "retain_grads", gradients.retain_grads),
    (Tensor, "backward", gradients.backward),
    (paddle.autograd, "backward", gradients.backward),
    (paddle, "grad", gradients.grad),
    (sys.modules["paddle.amp.auto_cast"], "amp_guard", precision.amp_guard),
    (dygraph_utils, "_append_activation_in_dygraph", elementwise.appended),
    (_C_ops, "add", _added),
    (_C_ops, "multiply", _multiplied),
    (Tensor, "__add__", _added),
    (Tensor, "__radd__", _added),
    (Tensor, "__mul__", _multiplied),
    (Tensor, "__rmul__", _multiplied),
]
_STAND_INS += [(_C_ops, name, elementwise.binary) for name in ("subtract", "maximum", "minimum")]
_STAND_INS += [(Tensor, name, elementwise.binary) for name in ("__sub__", "__rsub__", "__truediv__")]
_STAND_INS += [
    (_C_ops, name, functools.partial(elementwise.unary, in_bf16=function.IN_BF16.get(name)))
    for name in elementwise.UNARY
]


def _positional(stand_in: Callable, original: Callable) -> Callable:
    """Calls of an operator with options given by name, such as `out=`, stay with Paddle."""

    def operator(*arguments, **named):
        if any(value is not None for value in named.values()):
            return original(*arguments, **named)
        return stand_in(*arguments)

    return operator


class Patches:
    """Paddle's functions replaced by their stand-ins, and the originals to put back; any thread may ask for either."""

    def __init__(self):
        self._changing = threading.Lock()
        self._stand_ins = list(_STAND_INS)
        self._originals: list[tuple[object, str, object]] = []

    def add(self, owner: object, name: str, make: Callable) -> None:
        """Have one more function replaced, by what `make` returns for the original, from the next `install` on."""
        self._stand_ins.append((owner, name, make))

    @property
    def installed(self) -> bool:
        """Whether the stand-ins are in place."""
        return bool(self._originals)

    def install(self) -> None:
        """Put the stand-ins in place."""
        with self._changing:
            if self.installed:
                return
            for owner, name, make in self._stand_ins:
                original = getattr(owner, name)
                self._originals.append((owner, name, original))
                stand_in = make(original)
                if owner is _C_ops:
                    stand_in = _positional(stand_in, original)
                setattr(owner, name, functools.wraps(original)(stand_in))

    def remove(self) -> None:
        """Put the originals back."""
        with self._changing:
            while self._originals:
                setattr(*self._originals.pop())


patches = Patches()


def turn_on(numbers: str = "float32") -> None:
    """Use the stand-ins from now on, in a precision.

    The process keeps freed memory for the next step, and MKL takes its fast path.
    """
    precision.use(numbers)
    if not patches.installed:
        memory.keep_freed_pages()
        mkl.take_fast_path()
        patches.install()


def turn_off() -> None:
    """Put the originals back and return the memory that was kept."""
    precision.use("float32")
    if patches.installed:
        patches.remove()
        Scratch.release()
        memory.return_freed_pages()
