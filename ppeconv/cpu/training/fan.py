"""The base of the fast layers: how the gradients of several that took one bfloat16 activation are added up.

Paddle adds them one number after the other, which takes fifty times as long as oneDNN does. So of the layers that took
one activation the first sends its gradient, and the others add theirs to that tensor in place and send none. That adds
up only if all that take an activation do so, hence all are of this base.
"""

from __future__ import annotations

from typing import Any

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from ppeconv.cpu.library import onednn, openmp
from ppeconv.cpu.training import flat
from ppeconv.cpu.training.notes import Notes


class _Passes:
    begun = 0


def begin_pass() -> None:
    """A backward pass begins: what was sent in the ones before has been used."""
    _Passes.begun += 1


class _Fan:
    """What one activation's layers have sent to it in the backward pass under way."""

    def __init__(self):
        self._pass, self._total = 0, None

    def sent(self, gradient: Tensor) -> Tensor | None:
        """What a layer is to send, which had this gradient to itself."""
        if self._total is None or self._pass != _Passes.begun:
            self._pass, self._total = _Passes.begun, gradient
            return gradient
        at_total = self._total.data_ptr()
        add = flat.add(gradient.size, onednn.BFLOAT16, openmp.threads())
        add(at_total, gradient.data_ptr(), at_total)
        return None


_fans = Notes()


def _fan(operand: Any) -> _Fan | None:
    """That of an operand in bfloat16 that is differentiated."""
    if operand.dtype != paddle.bfloat16 or operand.stop_gradient:
        return None
    if (fan := _fans.recall(operand)) is None:
        _fans.remember(operand, fan := _Fan())
    return fan


class Layer(PyLayer):
    """A layer of one's own; the gradients of its operands are new tensors, or such as nobody else needs any more."""

    def __init_subclass__(cls) -> None:
        forward, backward = cls.forward, cls.backward

        def forward_and_note(ctx: Any, *arguments: Any) -> Any:
            fans = [_fan(it) for it in arguments if isinstance(it, Tensor)]
            ctx.fans = fans if any(fans) else None
            return forward(ctx, *arguments)

        def backward_and_add(ctx: Any, *gradients: Tensor) -> Any:
            found = backward(ctx, *gradients)
            if ctx.fans is None:
                return found
            several = found if isinstance(found, tuple) else (found,)
            sent = tuple(
                it if it is None or fan is None else fan.sent(it) for it, fan in zip(several, ctx.fans, strict=True)
            )
            return sent if isinstance(found, tuple) else sent[0]

        cls.forward, cls.backward = staticmethod(forward_and_note), staticmethod(backward_and_add)
