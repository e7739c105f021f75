"""Activations stay channels-last between layers, behind tensors that look like any other.

A fast layer computes `rows`, a contiguous [N, H, W, C] tensor, and hands out its `image`, an
[N, C, H, W] view that remembers the rows. The next fast layer takes the rows back; everything else
sees an ordinary tensor. An edit in place makes the memory stale, and the image is converted afresh.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import paddle
from paddle import _C_ops

from ppeconv.cpu.library import onednn, openmp
from ppeconv.cpu.library.execution import Execution, reorder
from ppeconv.cpu.library.scratch import exclusive
from ppeconv.cpu.training.fan import Layer
from ppeconv.cpu.training.notes import Notes
from ppeconv.cpu.training.precision import as_given
from ppeconv.errors import UserError

_transpose, _empty = _C_ops.transpose, _C_ops.empty
_TO_IMAGE, _TO_ROWS = [0, 3, 1, 2], [0, 2, 3, 1]
NO_SECOND_DERIVATIVES = (
    "the fast CPU layers have no second derivatives; build the network's output inside "
    "ppeconv.backend.disabled(), or set Global.cpu_backend to paddle"
)
_CPU = paddle.CPUPlace()
_TYPES = {onednn.FLOAT32: paddle.float32, onednn.BFLOAT16: paddle.bfloat16}
_DATA_TYPES = {dtype: data_type for data_type, dtype in _TYPES.items()}


@dataclasses.dataclass(slots=True)
class _Behind:
    rows: paddle.Tensor
    version: int
    used: bool = False


@dataclasses.dataclass(slots=True)
class _Facts:
    """What is known of rows."""

    derived: dict[object, object] = dataclasses.field(default_factory=dict)
    origin: object = None
    bypassed: bool = False


_rows_of, _facts_of, _trained = Notes(), Notes(), Notes()


def _facts(rows: paddle.Tensor) -> _Facts:
    facts = _facts_of.recall(rows)
    if facts is None:
        facts = _Facts()
        _facts_of.remember(rows, facts)
    return facts


def new(shape: list[int], data_type: int = onednn.FLOAT32) -> paddle.Tensor:
    """An uninitialised tensor on the CPU.

    Calls of Paddle take ten times as long after a primitive has filled the caches, so a layer makes them all before.
    """
    return _empty(shape, _TYPES[data_type], _CPU)


def new_bytes(size: int) -> paddle.Tensor:
    """An uninitialised buffer."""
    return _empty([size], paddle.uint8, _CPU)


def data_type(tensor: paddle.Tensor) -> int:
    """A tensor's numbers, as oneDNN calls them."""
    return _DATA_TYPES[tensor.dtype]


def holds(tensor: paddle.Tensor) -> bool:
    """Whether a tensor's numbers are such as the fast layers compute with."""
    return tensor.dtype in _DATA_TYPES


def view_as_image(rows: paddle.Tensor) -> paddle.Tensor:
    """The [N, C, H, W] view of [N, H, W, C]."""
    return _turned(rows, _TO_IMAGE)


def view_as_rows(tensor: paddle.Tensor) -> paddle.Tensor:
    """The [N, H, W, C] view of [N, C, H, W]."""
    return _turned(tensor, _TO_ROWS)


def _turned(tensor: paddle.Tensor, order: list[int]) -> paddle.Tensor:
    if tensor.dtype == paddle.float32:
        return _transpose(tensor, order)
    with as_given():
        return _transpose(tensor, order)


def image(rows: paddle.Tensor) -> paddle.Tensor:
    """The [N, C, H, W] view of rows, remembering them."""
    view = view_as_image(rows) if rows.dtype == paddle.float32 else _ToImage.apply(rows)
    _rows_of.remember(view, _Behind(rows, rows.inplace_version))
    return view


def remembered_rows(tensor: Any) -> paddle.Tensor | None:
    """The rows behind an image; None for anything else and for an image edited in place."""
    behind = _rows_of.recall(tensor)
    if behind is None or tensor.inplace_version != behind.version:
        return None
    if tensor.stop_gradient != behind.rows.stop_gradient:
        return None
    behind.used = True
    return behind.rows


def forget(tensor: paddle.Tensor) -> paddle.Tensor | None:
    """Treat an image as any other tensor from now on; returns its rows if something has used them already."""
    behind = _rows_of.recall(tensor)
    if behind is None:
        return None
    _rows_of.drop(tensor)
    return behind.rows if behind.used else None


def bypass(rows: paddle.Tensor) -> None:
    """Note that gradients go past rows."""
    _facts(rows).bypassed = True


def is_bypassed(tensor: object) -> bool:
    """Whether this is an image, and a ReLU fused with what made it sends its gradient past it."""
    behind = _rows_of.recall(tensor)
    facts = None if behind is None else _facts_of.recall(behind.rows)
    return facts is not None and facts.bypassed


def to_rows(tensor: paddle.Tensor) -> paddle.Tensor:
    """The rows of any [N, C, H, W] tensor whose numbers the fast layers compute with."""
    rows = remembered_rows(tensor)
    if rows is None:
        rows = _ToRows.apply(tensor)
        # A trainable leaf outlives the graph of one step, and so would the rows' part of that graph.
        if tensor.stop_gradient or not tensor.is_leaf:
            _rows_of.remember(tensor, _Behind(rows, tensor.inplace_version))
    return rows


def once(rows: paddle.Tensor, key: object, make: Callable[[], Any]) -> Any:
    """What `make` returns for these rows, made at the first request and remembered with them."""
    derived = _facts(rows).derived
    if key not in derived:
        derived[key] = make()
    return derived[key]


def describe_origin(rows: paddle.Tensor, origin: object) -> None:
    """Remember how rows were made; `origin` must not refer to them, or they would live for ever."""
    _facts(rows).origin = origin


def origin(rows: paddle.Tensor) -> Any:
    """How rows were made, if that was described."""
    facts = _facts_of.recall(rows)
    return None if facts is None else facts.origin


def trains(*parameters: paddle.Tensor) -> bool:
    """Whether any of a layer's parameters is trained; those are noted for `trained`."""
    moving = [parameter for parameter in parameters if not parameter.stop_gradient]
    for parameter in moving:
        if _trained.recall(parameter) is None:
            _trained.remember(parameter, True)
    return bool(moving)


def trained() -> list[paddle.Tensor]:
    """The living parameters that fast layers have trained."""
    return _trained.tensors()


class _ToRows(Layer):
    @staticmethod
    def forward(ctx, tensor):
        return dense_rows(view_as_rows(tensor))

    @staticmethod
    def backward(ctx, grad):
        return view_as_image(incoming(grad))


class _ToImage(Layer):
    @staticmethod
    def forward(ctx, rows):
        return view_as_image(rows)

    @staticmethod
    def backward(ctx, gradient):
        return copy_of(dense_rows(view_as_rows(gradient)))  # of what the user may have kept


def copy_of(tensor: paddle.Tensor) -> paddle.Tensor:
    """The same numbers elsewhere."""
    with as_given():
        return tensor.clone()


def of_both(gradient: paddle.Tensor, wanted: tuple[bool, bool]) -> tuple[paddle.Tensor | None, paddle.Tensor | None]:
    """The gradients of two terms by that of their sum, where wanted."""
    first, second = wanted
    # Paddle may add to a gradient in place, so two terms cannot share one.
    return gradient if first else None, (copy_of(gradient) if first else gradient) if second else None


def incoming(gradient: paddle.Tensor) -> paddle.Tensor:
    """The gradient handed to a backward pass, contiguous; refuses to be differentiated again."""
    if paddle.is_grad_enabled():
        raise UserError(NO_SECOND_DERIVATIVES)
    return dense_rows(gradient)


def dense_rows(rows: paddle.Tensor) -> paddle.Tensor:
    """The same [N, H, W, C] values, contiguous."""
    if rows.is_contiguous():
        return rows
    shape = rows.shape
    n, h, w, c = shape
    if rows.strides != [c * h * w, w, 1, h * w]:
        return rows.contiguous()
    result = new(shape, data_type(rows))
    with exclusive:
        _from_channels_first(n, c, h, w, data_type(rows), openmp.threads())((rows.data_ptr(), result.data_ptr()))
    return result


@functools.lru_cache(maxsize=1024)
def _from_channels_first(n: int, c: int, h: int, w: int, data_type: int, threads: int) -> Execution:
    shape = n, c, h, w
    return reorder(onednn.dense(shape, data_type), onednn.channels_last(shape, data_type))
