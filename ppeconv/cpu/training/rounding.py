"""Activations from one number format into another."""

from __future__ import annotations

from paddle import Tensor

from ppeconv.cpu.library import onednn, openmp
from ppeconv.cpu.library.scratch import exclusive
from ppeconv.cpu.training import flat, layout
from ppeconv.cpu.training.fan import Layer


def rounded(tensor: Tensor, data_type: int) -> Tensor:
    """The numbers of a contiguous tensor in a format; the tensor itself where they have it."""
    source = layout.data_type(tensor)
    if source == data_type:
        return tensor
    result = layout.new(tensor.shape, data_type)
    convert = flat.convert(tensor.size, source, data_type, openmp.threads())
    with exclusive:
        convert((tensor.data_ptr(), result.data_ptr()))
    return result


def float_rows(rows: Tensor) -> Tensor:
    """Rows in float32, made once."""
    if layout.data_type(rows) == onednn.FLOAT32:
        return rows
    return layout.once(rows, "float32", lambda: _InFloat32.apply(rows))


def rows_in(data_type: int, rows: Tensor) -> Tensor:
    """Rows in the format that a plan made for them takes: their own, or float32."""
    return rows if layout.data_type(rows) == data_type else float_rows(rows)


def alike(*parts: Tensor) -> list[Tensor]:
    """Rows in one format: as they are if they have one in common, else float32."""
    return list(parts) if len({it.dtype for it in parts}) == 1 else list(map(float_rows, parts))


class _InFloat32(Layer):
    @staticmethod
    def forward(ctx, rows):
        ctx.data_type = layout.data_type(rows)
        return rounded(rows, onednn.FLOAT32)

    @staticmethod
    def backward(ctx, gradient):
        return rounded(layout.incoming(gradient), ctx.data_type)
