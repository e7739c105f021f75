"""Real images: some on which layers are fitted, others on which it is judged what a fitted layer costs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import Tensor

from ppeconv.domains import Count
from ppeconv.errors import UserError
from ppeconv.schema import Section, check

FITTING, HELD_OUT = 512, 1024
"""How many images of each."""
_BATCHES = 32, 128
"""Images of each that run at once."""


class _Counts(Section):
    """How many images are asked for."""

    images: Count
    held_out: Count


@dataclass(frozen=True)
class Images:
    """What a network was trained on, transformed as in evaluation."""

    fitting: list[Tensor]
    """[N, C, H, W] each."""
    held_out: list[tuple[Tensor, Tensor]]
    """Images and labels, none of which is among those of the fit."""

    @classmethod
    def of(cls, loader: Iterable[Any], fitting: int = FITTING, held_out: int = HELD_OUT) -> Images:
        """The first images of a loader for the fit, the next ones to judge by; of fewer about a third and the rest.

        Args:
            loader: batches (images [N, C, H, W], labels [N] or [N, 1]), tensors or arrays.
            fitting, held_out: how many at most.

        Raises:
            UserError: there are fewer than three images, or something else comes.
        """
        check(_Counts, {"images": fitting, "held_out": held_out})
        images, labels = [], []
        for batch in loader:
            pair = _pair(batch)
            images.append(pair[0])
            labels.append(pair[1])
            if sum(map(len, images)) >= fitting + held_out:
                break
        if sum(map(len, images)) < 3:
            raise UserError("slim fits layers on some images and judges by others; the loader gives fewer than three")
        x, y = np.concatenate(images)[: fitting + held_out], np.concatenate(labels)[: fitting + held_out]
        first = min(fitting, max(len(x) // 3, len(x) - held_out))
        return cls(
            [paddle.to_tensor(part) for part in _parts(x[:first], _BATCHES[0])],
            [
                (paddle.to_tensor(part), paddle.to_tensor(names))
                for part, names in zip(_parts(x[first:], _BATCHES[1]), _parts(y[first:], _BATCHES[1]), strict=True)
            ],
        )

    @property
    def shape(self) -> list[int]:
        """[C, H, W]."""
        return list(self.fitting[0].shape[1:])

    @property
    def digest(self) -> str:
        """The same for the same images and labels."""
        found = hashlib.sha256()
        for value in [*self.fitting, *(part for pair in self.held_out for part in pair)]:
            found.update(value.numpy().tobytes())
        return found.hexdigest()

    def __str__(self) -> str:
        held = sum(len(labels) for _, labels in self.held_out)
        return f"{sum(map(len, self.fitting))} images to fit on, {held} to judge by"


def _pair(batch: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(batch, (list, tuple)) or len(batch) != 2:
        raise UserError(f"a loader gives batches (images, labels); got a {type(batch).__name__}")
    images, labels = (value.numpy() if isinstance(value, Tensor) else np.asarray(value) for value in batch)
    if images.ndim != 4 or labels.size != len(images):
        raise UserError(
            "a loader gives images [N, C, H, W] and a label for each; got shapes "
            f"{list(images.shape)} and {list(labels.shape)}"
        )
    return images.astype(np.float32), labels.reshape(-1, 1).astype(np.int64)


def _parts(values: np.ndarray, size: int) -> Sequence[np.ndarray]:
    return [values[start : start + size] for start in range(0, len(values), size)]
