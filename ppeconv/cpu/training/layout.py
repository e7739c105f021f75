"""Activations stay channels-last between layers, behind tensors that look like any other.

A fast layer computes `rows`, a contiguous [N, H, W, C] tensor, and hands out its `image`, an
[N, C, H, W] view that remembers the rows. The next fast layer takes the rows back; everything else
sees an ordinary tensor. An edit in place makes the memory stale, and the image is converted afresh.
"""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Callable
from typing import Any

import paddle
from paddle import _C_ops
from paddle.autograd import PyLayer

from ppeconv.cpu.library import onednn, openmp
from ppeconv.cpu.library.execution import Execution, reorder
from ppeconv.cpu.library.scratch import exclusive
from ppeconv.errors import UserError

_transpose, _empty = _C_ops.transpose, _C_ops.empty
_TO_IMAGE, _TO_ROWS = [0, 3, 1, 2], [0, 2, 3, 1]
NO_SECOND_DERIVATIVES = (
    "the fast CPU layers have no second derivatives; build the network's output inside "
    "ppeconv.backend.disabled(), or set Global.cpu_backend to paddle"
)
_CPU = paddle.CPUPlace()
PADDLE_TYPES = {onednn.FLOAT32: paddle.float32, onednn.BFLOAT16: paddle.bfloat16}
"""Those of Paddle that oneDNN's numbers are."""


class _Notes:
    """Something remembered with a tensor for as long as the tensor lives."""

    def __init__(self):
        # By id: Paddle 2's tensors take no attributes, and a WeakKeyDictionary would compare tensors number by number.
        self._notes: dict[int, tuple[weakref.ref, Any]] = {}

    def remember(self, tensor: paddle.Tensor, note: object) -> None:
        key, notes = id(tensor), self._notes
        notes[key] = weakref.ref(tensor, lambda _: notes.pop(key, None)), note

    def recall(self, tensor: Any) -> Any:
        entry = self._notes.get(id(tensor))
        return None if entry is None else entry[1]

    def drop(self, tensor: paddle.Tensor) -> None:
        self._notes.pop(id(tensor), None)

    def tensors(self) -> list[paddle.Tensor]:
        return [tensor for tensor in (entry[0]() for entry in list(self._notes.values())) if tensor is not None]


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


_rows_of, _facts_of, _trained = _Notes(), _Notes(), _Notes()


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
    return _empty(shape, PADDLE_TYPES[data_type], _CPU)


def new_bytes(size: int) -> paddle.Tensor:
    """An uninitialised buffer."""
    return _empty([size], paddle.uint8, _CPU)


def view_as_image(rows: paddle.Tensor) -> paddle.Tensor:
    """The [N, C, H, W] view of [N, H, W, C]."""
    return _transpose(rows, _TO_IMAGE)


def view_as_rows(tensor: paddle.Tensor) -> paddle.Tensor:
    """The [N, H, W, C] view of [N, C, H, W]."""
    return _transpose(tensor, _TO_ROWS)


def image(rows: paddle.Tensor) -> paddle.Tensor:
    """The [N, C, H, W] view of rows, remembering them."""
    view = view_as_image(rows)
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
    """The rows of any float32 [N, C, H, W] tensor."""
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


class _ToRows(PyLayer):
    @staticmethod
    def forward(ctx, tensor):
        return dense_rows(view_as_rows(tensor))

    @staticmethod
    def backward(ctx, grad):
        return view_as_image(incoming(grad))


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
    result = new(shape)
    with exclusive:
        _from_channels_first(n, c, h, w, openmp.threads())((rows.data_ptr(), result.data_ptr()))
    return result


@functools.lru_cache(maxsize=1024)
def _from_channels_first(n: int, c: int, h: int, w: int, threads: int) -> Execution:
    shape = n, c, h, w
    return reorder(onednn.dense(shape), onednn.channels_last(shape))
