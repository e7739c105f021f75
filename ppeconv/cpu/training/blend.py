"""Two activations, each weighted by how strong it is on average: one function for what would be many small ones."""

from __future__ import annotations

from collections.abc import Callable

from paddle import Tensor
from paddle.nn import functional as F

from ppeconv.cpu.library import openmp
from ppeconv.cpu.library.onednn import BINARY_ADD as ADD
from ppeconv.cpu.library.onednn import BINARY_MULTIPLY as MULTIPLY
from ppeconv.cpu.library.onednn import BINARY_SUB as SUBTRACT
from ppeconv.cpu.training import broadcast, layout
from ppeconv.cpu.training.fan import Layer
from ppeconv.cpu.training.rounding import alike


def softmax_blend(original: Callable) -> Callable:
    """gate * first + (1 - gate) * second, with the gate sigmoid(mean of first - mean of second)."""

    def stand_in(first: Tensor, second: Tensor) -> Tensor:
        first_rows, second_rows = layout.remembered_rows(first), layout.remembered_rows(second)
        if first_rows is None or second_rows is None:
            return original(first, second)
        first_rows, second_rows = alike(first_rows, second_rows)
        n, data_type = first_rows.shape[0], layout.data_type(first_rows)
        steps = broadcast.plan(tuple(first_rows.shape), n, data_type, openmp.threads())
        return layout.image(_Blend.apply(first_rows, second_rows, steps))

    return stand_in


class _Blend(Layer):
    """The blend of rows, differentiated through its gate.

    With g the incoming gradient, a the gate and p the mean of g * (first - second), the first term's gradient is
    a * g + a * (1 - a) * p, and the second's is what that leaves of g.
    """

    @staticmethod
    def forward(ctx, first, second, steps):
        gate = F.sigmoid(steps.mean(first) - steps.mean(second))
        ctx.save_for_backward(first, second, gate)
        ctx.steps, ctx.wanted = steps, (not first.stop_gradient, not second.stop_gradient)
        return steps.combined(first, MULTIPLY, gate, ADD, steps.combined(second, MULTIPLY, 1 - gate))

    @staticmethod
    def backward(ctx, gradient):
        first, second, gate = ctx.saved_tensor()
        gradient, steps = layout.incoming(gradient), ctx.steps
        through_gate = steps.mean(steps.combined(first, SUBTRACT, second, MULTIPLY, gradient)) * gate * (1 - gate)
        to_first = steps.combined(gradient, MULTIPLY, gate)
        steps.combined(to_first, ADD, through_gate, into=to_first)
        wants_first, wants_second = ctx.wanted
        to_second = steps.combined(gradient, SUBTRACT, to_first) if wants_second else None
        return to_first if wants_first else None, to_second
