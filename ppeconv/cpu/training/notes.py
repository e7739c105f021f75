"""What is remembered with tensors."""

from __future__ import annotations

import weakref
from typing import Any

import paddle


class Notes:
    """Something remembered with a tensor for as long as the tensor lives."""

    def __init__(self):
        # By id: Paddle 2's tensors take no attributes, and a WeakKeyDictionary would compare tensors number by number.
        self._notes: dict[int, tuple[weakref.ref, Any]] = {}

    def remember(self, tensor: paddle.Tensor, note: object) -> None:
        """Remember that, and no other thing any more."""
        key, notes = id(tensor), self._notes
        notes[key] = weakref.ref(tensor, lambda _: notes.pop(key, None)), note

    def recall(self, tensor: Any) -> Any:
        """What is remembered, or None."""
        entry = self._notes.get(id(tensor))
        return None if entry is None else entry[1]

    def drop(self, tensor: paddle.Tensor) -> None:
        """Remember nothing with it any more."""
        self._notes.pop(id(tensor), None)

    def tensors(self) -> list[paddle.Tensor]:
        """The living tensors that something is remembered with."""
        return [tensor for tensor in (entry[0]() for entry in list(self._notes.values())) if tensor is not None]
