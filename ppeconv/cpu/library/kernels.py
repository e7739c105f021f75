"""Kernels of oneDNN 3.6 that take less time than the one that comes first in its list.

The list is ordered by how new a kernel is. What is faster was measured on AMD's CPUs alone, see docs/cpu_training.md,
and is preferred there alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

from ppeconv.cpu.library.cpuinfo import cpu_facts

Names = tuple[str, ...]
"""How the names of kernels begin that are to be preferred; none where the first of the list is to be taken."""

_VECTOR, _HALF_A_VECTOR = 16, 8
"""Numbers that a kernel for AVX-512, and one for AVX2, computes at a time."""
_NARROW = 32
"""Input channels up to which older kernels for AVX-512 are faster: with strides and with a single image in float32,
always in bfloat16."""
_FEW_COLUMNS, _MANY_IMAGES = 4, 16
"""Of the result, and of a batch: there older kernels for bfloat16 are faster with any number of channels."""


class Shape(NamedTuple):
    """What the choice of a kernel depends on."""

    images: int
    groups: int
    outputs: int
    """Channels of a group; those of the image are `inputs`."""
    inputs: int
    is_pointwise: bool
    """1x1."""
    stride: int
    """Down the image."""
    columns: int
    """Of the result."""
    is_float32: bool

    @property
    def is_depthwise(self) -> bool:
        return self.outputs == self.inputs == 1 < self.groups


_Choice = Callable[[Shape], Names]


def forward(shape: Shape) -> Names:
    """Of a convolution."""
    return _where_measured(shape, _forward, _forward_in_bfloat16)


def image_gradient(shape: Shape) -> Names:
    """Of the gradient of its image."""
    return _where_measured(shape, _image_gradient, _image_gradient_in_bfloat16)


def weight_gradient(shape: Shape) -> Names:
    """Of the gradient of its weight."""
    return _where_measured(shape, _weight_gradient, lambda _: ())


@functools.cache
def _were_measured() -> bool:
    return cpu_facts().get("vendor_id") == ["AuthenticAMD"]


def _where_measured(shape: Shape, in_float32: _Choice, in_bfloat16: _Choice) -> Names:
    if not _were_measured():
        return ()
    return (in_float32 if shape.is_float32 else in_bfloat16)(shape)


def _forward(shape: Shape) -> Names:
    if shape.is_depthwise:
        return ("jit_dw",)
    if shape.outputs in (_HALF_A_VECTOR, _VECTOR + _HALF_A_VECTOR):
        return "brg_conv_fwd:avx2", "brgconv_1x1:avx2"
    if shape.groups > 1:
        return ()
    if shape.is_pointwise:
        return ("jit:avx512", "jit_1x1:avx2") if shape.stride > 1 else ()
    is_small = shape.inputs <= _NARROW and (shape.stride > 1 or shape.images == 1)
    return ("jit:avx512",) if is_small or shape.inputs < _HALF_A_VECTOR else ()


def _image_gradient(shape: Shape) -> Names:
    if shape.is_depthwise:
        return ()
    if shape.inputs <= _HALF_A_VECTOR:
        return "jit:avx2", "jit_1x1:avx2"
    if shape.stride > 1 and shape.is_pointwise and shape.groups == 1:
        return ("jit_1x1",)
    return ("jit:",) if shape.stride > 1 and shape.inputs <= _NARROW else ()


def _weight_gradient(shape: Shape) -> Names:
    if shape.outputs == _HALF_A_VECTOR:
        return ("jit:avx2",)
    is_strided_pointwise = shape.is_pointwise and shape.stride > 1 and shape.groups == 1
    return ("jit:avx512",) if is_strided_pointwise and shape.inputs <= _NARROW else ()


def _forward_in_bfloat16(shape: Shape) -> Names:
    if shape.groups > 1:
        return ()
    if shape.is_pointwise:
        return ("jit_bf16",) if shape.stride > 1 else ()
    return ("jit_bf16",) if shape.inputs <= _NARROW or _has_few_columns(shape) else ()


def _image_gradient_in_bfloat16(shape: Shape) -> Names:
    if shape.groups > 1:
        return ()
    if shape.is_pointwise:
        return ("jit_bf16",) if shape.stride > 1 else ()
    has_few_columns = shape.stride == 1 and _has_few_columns(shape)
    return ("jit_bf16",) if shape.inputs <= _NARROW or has_few_columns else ()


def _has_few_columns(shape: Shape) -> bool:
    return shape.columns <= _FEW_COLUMNS and shape.images >= _MANY_IMAGES
