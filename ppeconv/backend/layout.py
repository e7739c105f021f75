"""Activations stay channels-last between layers, behind tensors that look like any other.

A fast layer computes `rows`, a contiguous [N, H, W, C] tensor, and hands out its `image`, an
[N, C, H, W] view that remembers the rows. The next fast layer takes the rows back; everything else
sees an ordinary tensor. An edit in place makes the memory stale, and the image is converted afresh.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable

import paddle
from paddle import _C_ops
from paddle.autograd import PyLayer

from . import onednn

_transpose, _empty = _C_ops.transpose, _C_ops.empty
_TO_IMAGE, _TO_ROWS = [0, 3, 1, 2], [0, 2, 3, 1]
_CPU, _FLOAT32 = paddle.CPUPlace(), paddle.float32


class _Notes:
    """Something remembered with a tensor for as long as the tensor lives."""

    def __init__(self):
        self._notes: dict[int, tuple[weakref.ref, object]] = {}

    def remember(self, tensor: paddle.Tensor, note: object) -> None:
        key, notes = id(tensor), self._notes
        notes[key] = weakref.ref(tensor, lambda _: notes.pop(key, None)), note

    def recall(self, tensor: paddle.Tensor) -> object:
        entry = self._notes.get(id(tensor))
        return None if entry is None else entry[1]


_rows_of, _derived_from = _Notes(), _Notes()


def new(shape: list[int]) -> paddle.Tensor:
    """An uninitialised float32 tensor on the CPU."""
    return _empty(shape, _FLOAT32, _CPU)


def new_bytes(size: int) -> paddle.Tensor:
    """An uninitialised buffer."""
    return _empty([size], paddle.uint8, _CPU)


def image(rows: paddle.Tensor) -> paddle.Tensor:
    """The [N, C, H, W] view of rows, remembering them."""
    view = _transpose(rows, _TO_IMAGE)
    _rows_of.remember(view, (rows, rows.inplace_version))
    return view


def remembered_rows(tensor: paddle.Tensor) -> paddle.Tensor | None:
    """The rows behind an image, or None for any other tensor and for an image edited in place."""
    rows, version = _rows_of.recall(tensor) or (None, 0)
    if rows is None or tensor.inplace_version != version or tensor.stop_gradient != rows.stop_gradient:
        return None
    return rows


def to_rows(tensor: paddle.Tensor) -> paddle.Tensor:
    """The rows of any float32 [N, C, H, W] tensor."""
    rows = remembered_rows(tensor)
    if rows is None:
        rows = _ToRows.apply(tensor)
        # A trainable leaf outlives the graph of one step, and so would the rows' part of that graph.
        if tensor.stop_gradient or not tensor.is_leaf:
            _rows_of.remember(tensor, (rows, tensor.inplace_version))
    return rows


def once(rows: paddle.Tensor, key: object, make: Callable[[], object]) -> object:
    """What `make` returns for these rows, made at the first request and remembered with them."""
    derived = _derived_from.recall(rows)
    if derived is None:
        derived = {}
        _derived_from.remember(rows, derived)
    if key not in derived:
        derived[key] = make()
    return derived[key]


class _ToRows(PyLayer):
    @staticmethod
    def forward(ctx, tensor):
        return dense_rows(_transpose(tensor, _TO_ROWS))

    @staticmethod
    def backward(ctx, grad):
        return _transpose(dense_rows(grad), _TO_IMAGE)


def dense_rows(rows: paddle.Tensor) -> paddle.Tensor:
    """The same [N, H, W, C] values, contiguous."""
    if rows.is_contiguous():
        return rows
    shape = rows.shape
    n, h, w, c = shape
    if rows.strides != [c * h * w, w, 1, h * w]:
        return rows.contiguous()
    result = new(shape)
    with onednn.exclusive:
        _from_channels_first(n, c, h, w, onednn.threads())((rows.data_ptr(), result.data_ptr()))
    return result


@functools.lru_cache(maxsize=1024)
def _from_channels_first(n: int, c: int, h: int, w: int, threads: int):
    shape = n, c, h, w
    return onednn.reorder(onednn.dense(shape), onednn.channels_last(shape))
