"""Steps that move numbers and compute nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ppeconv.cpu.inference.graph import Step, Value
from ppeconv.cpu.library import onednn


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


def _part(whole: Value, begin: Sequence[int], shape: Sequence[int]) -> tuple[int, onednn.Layout]:
    """Where a part [N, C, H, W] of an image lies in it: an offset and a layout."""
    _, channels, height, width = _image(whole)
    strides = [height * width * channels, 1, width * channels, channels]
    offset = sum(stride * start for stride, start in zip(strides, begin, strict=False))
    return offset, onednn.Layout(shape, strides, whole.data_type)


def _cut(step: Step, batch: int) -> list[Copy]:
    (whole,) = step.inputs
    shape = batch, *_image(step.output)[1:]
    offset, place = _part(whole, step.settings["begin"], shape)
    return [Copy(whole, offset, place, step.output, 0, onednn.channels_last(shape, step.output.data_type))]


def _join(step: Step, batch: int) -> list[Copy]:
    moved, begin, axis = [], [0] * 4, step.settings["axis"]
    for part in step.inputs:
        shape = batch, *_image(part)[1:]
        offset, place = _part(step.output, begin, shape)
        moved.append(Copy(part, 0, onednn.channels_last(shape, part.data_type), step.output, offset, place))
        begin[axis] += part.shape[axis]
    return moved


def _gather(step: Step, batch: int) -> list[Copy]:
    """One copy for each run of neighbours."""
    (x,) = step.inputs
    axis, index = step.settings["axis"], step.settings["index"]
    starts = [at for at, wanted in enumerate(index) if at == 0 or wanted != index[at - 1] + 1]
    moved = []
    for start, end in zip(starts, [*starts[1:], len(index)], strict=True):
        shape = [batch, *_image(x)[1:]]
        shape[axis] = end - start
        ends = [
            _part(it, [at if place == axis else 0 for place in range(4)], shape)
            for it, at in ((x, index[start]), (step.output, start))
        ]
        moved.append(Copy(x, *ends[0], step.output, *ends[1]))
    return moved


def _shuffle(step: Step, batch: int) -> list[Copy]:
    (x,) = step.inputs
    _, channels, height, width = _image(x)
    groups = step.settings["groups"]
    shape = [batch * height * width, groups, channels // groups]
    turned = onednn.Layout(shape, [channels, 1, groups], step.output.data_type)
    return [Copy(x, 0, onednn.dense(shape, x.data_type), step.output, 0, turned)]


def _flatten(step: Step, batch: int) -> list[Copy]:
    (x,) = step.inputs
    shape = x.sized(batch)
    flat = onednn.dense(shape, step.output.data_type)
    return [Copy(x, 0, onednn.channels_last(shape, x.data_type), step.output, 0, flat)]


_COPIES: dict[str, Callable[[Step, int], list[Copy]]] = {
    "cut": _cut,
    "join": _join,
    "gather": _gather,
    "shuffle": _shuffle,
    "flatten": _flatten,
}
