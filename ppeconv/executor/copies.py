"""Steps that move numbers and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ppeconv.backend import onednn
from ppeconv.executor.graph import Step, Value


class Copy(NamedTuple):
    """A copy between two values, each from so many numbers behind its beginning."""

    source: Value
    source_offset: int
    source_layout: onednn.Layout
    target: Value
    target_offset: int
    target_layout: onednn.Layout


def copies(step: Step, batch: int) -> list[Copy]:
    """What a step moves for a number of images."""
    return _COPIES[step.kind](step, batch)


def is_copy(step: Step) -> bool:
    """Whether a step is one of these."""
    return step.kind in _COPIES


def _image(value: Value) -> tuple[int, ...]:
    """[-1, C, H, W] of an image or a vector."""
    return *value.shape, *[1] * (4 - len(value.shape))


def _part(whole: Value, part: Value, begin: Sequence[int], batch: int) -> tuple[int, onednn.Layout, onednn.Layout]:
    """Where a part of an image lies in it, as an offset and a layout, and its layout by itself."""
    _, channels, height, width = _image(whole)
    shape = batch, *_image(part)[1:]
    strides = [height * width * channels, 1, width * channels, channels]
    offset = sum(stride * start for stride, start in zip(strides, [*begin, 0, 0], strict=False))
    return offset, onednn.Layout(shape, strides), onednn.channels_last(shape)


def _cut(step: Step, batch: int) -> list[Copy]:
    (whole,) = step.inputs
    offset, place, own = _part(whole, step.output, step.settings["begin"], batch)
    return [Copy(whole, offset, place, step.output, 0, own)]


def _join(step: Step, batch: int) -> list[Copy]:
    moved, begin = [], 0
    for part in step.inputs:
        offset, place, own = _part(step.output, part, (0, begin), batch)
        moved.append(Copy(part, 0, own, step.output, offset, place))
        begin += part.shape[1]
    return moved


def _shuffle(step: Step, batch: int) -> list[Copy]:
    (x,) = step.inputs
    _, channels, height, width = _image(x)
    groups = step.settings["groups"]
    shape = [batch * height * width, groups, channels // groups]
    return [Copy(x, 0, onednn.dense(shape), step.output, 0, onednn.Layout(shape, [channels, 1, groups]))]


def _flatten(step: Step, batch: int) -> list[Copy]:
    (x,) = step.inputs
    shape = x.sized(batch)
    return [Copy(x, 0, onednn.channels_last(shape), step.output, 0, onednn.dense(shape))]


_COPIES: dict[str, Callable[[Step, int], list[Copy]]] = {
    "cut": _cut,
    "join": _join,
    "shuffle": _shuffle,
    "flatten": _flatten,
}


def size(value: Value, batch: int) -> int:
    """Numbers that a value holds."""
    return math.prod(value.sized(batch))
