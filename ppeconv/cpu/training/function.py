"""Functions of each number of an activation by oneDNN, where Paddle has none for bfloat16."""

from __future__ import annotations

from paddle import Tensor

from ppeconv.cpu.library import onednn, openmp
from ppeconv.cpu.training import flat, layout
from ppeconv.cpu.training.fan import Layer

IN_BF16 = {
    "relu6": flat.Function(onednn.CLIP, 0, 6),
    "hardswish": flat.Function(onednn.HARDSWISH, 1 / 6, 0.5),
    "silu": flat.Function(onednn.SWISH, 1),
    "swish": flat.Function(onednn.SWISH, 1),
}
"""Those of Paddle's operators, by their names, that activations between convolutions usually are."""


def of(function: flat.Function, x: Tensor) -> Tensor:
    """The function of each number, not differentiated."""
    data_type = layout.data_type(x)
    result = layout.new(x.shape, data_type)
    flat.apply(function, x.size, data_type, openmp.threads())(x.data_ptr(), result.data_ptr())
    return result


def gradient(function: flat.Function, known: Tensor, of_result: Tensor) -> Tensor:
    """The gradient of x by that of the result; known is x, or the result of a function known by that."""
    data_type = layout.data_type(known)
    of_x = layout.new(known.shape, data_type)
    run = flat.differentiate(function, known.size, data_type, openmp.threads())
    run(known.data_ptr(), of_result.data_ptr(), of_x.data_ptr())
    return of_x


class Applied(Layer):
    """Rows of which each number was given to a function."""

    @staticmethod
    def forward(ctx, rows, function):
        result = of(function, rows)
        ctx.function = function
        ctx.save_for_backward(result if function.is_known_by_result else rows)
        return result

    @staticmethod
    def backward(ctx, of_result):
        (known,) = ctx.saved_tensor()
        return gradient(ctx.function, known, layout.incoming(of_result))
