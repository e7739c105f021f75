"""Cutting channels-last activations into channel ranges and joining them again."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import paddle

from ppeconv.cpu.library import onednn, openmp
from ppeconv.cpu.library.execution import Execution, reorder
from ppeconv.cpu.library.scratch import exclusive
from ppeconv.cpu.training import layout
from ppeconv.cpu.training.fan import Layer


def _strides(height: int, width: int, channels: int) -> list[int]:
    return [height * width * channels, width * channels, channels, 1]


@functools.lru_cache(maxsize=1024)
def _copies(n: int, h: int, w: int, sections: tuple[int, ...], joining: bool, data_type: int, _threads: int) -> list:
    """One copy per section between its own tensor and its place inside the whole."""
    whole = _strides(h, w, sum(sections))
    pairs = []
    for channels in sections:
        shape = [n, h, w, channels]
        part, place = onednn.dense(shape, data_type), onednn.Layout(shape, whole, data_type)
        pairs.append(reorder(part, place) if joining else reorder(place, part))
    return pairs


def _places(whole: paddle.Tensor, sections: Sequence[int]) -> list[int]:
    address, places = whole.data_ptr(), []
    for channels in sections:
        places.append(address)
        address += whole.element_size() * channels
    return places


def cut(rows: paddle.Tensor, sections: tuple[int, ...]) -> list[paddle.Tensor]:
    """The consecutive channel ranges of rows, each a tensor of its own."""
    n, h, w, _ = rows.shape
    data_type = layout.data_type(rows)
    parts = [layout.new([n, h, w, channels], data_type) for channels in sections]
    copies = _copies(n, h, w, sections, False, data_type, openmp.threads())
    with exclusive:
        for copy, place, part in zip(copies, _places(rows, sections), parts, strict=True):
            copy((place, part.data_ptr()))
    return parts


def join(parts: Sequence[paddle.Tensor]) -> paddle.Tensor:
    """Rows with the channels of all parts, of one number format, in order."""
    n, h, w, _ = parts[0].shape
    sections = tuple(part.shape[3] for part in parts)
    data_type = layout.data_type(parts[0])
    whole = layout.new([n, h, w, sum(sections)], data_type)
    copies = _copies(n, h, w, sections, True, data_type, openmp.threads())
    with exclusive:
        for copy, place, part in zip(copies, _places(whole, sections), parts, strict=True):
            copy((part.data_ptr(), place))
    return whole


class Cut(Layer):
    """Rows into channel ranges."""

    @staticmethod
    def forward(ctx, rows, sections):
        return tuple(cut(rows, sections))

    @staticmethod
    def backward(ctx, *gradients):
        return join([layout.incoming(gradient) for gradient in gradients])


class Join(Layer):
    """Channel ranges into rows."""

    @staticmethod
    def forward(ctx, *parts):
        ctx.sections = tuple(part.shape[3] for part in parts)
        ctx.wanted = [not part.stop_gradient for part in parts]
        return join(parts)

    @staticmethod
    def backward(ctx, gradient):
        parts = cut(layout.incoming(gradient), ctx.sections)
        return tuple(part if wanted else None for part, wanted in zip(parts, ctx.wanted, strict=True))


@functools.lru_cache(maxsize=256)
def _interleaving(positions: int, outer: int, inner: int, data_type: int, _threads: int) -> Execution:
    shape, channels = [positions, outer, inner], outer * inner
    return reorder(onednn.dense(shape, data_type), onednn.Layout(shape, [channels, 1, outer], data_type))


def _interleaved(rows: paddle.Tensor, groups: int) -> paddle.Tensor:
    n, h, w, c = rows.shape
    data_type = layout.data_type(rows)
    result = layout.new([n, h, w, c], data_type)
    exchange = _interleaving(n * h * w, groups, c // groups, data_type, openmp.threads())
    with exclusive:
        exchange((rows.data_ptr(), result.data_ptr()))
    return result


class Shuffle(Layer):
    """Channel groups interleaved: the first of each group, the second of each, and so on."""

    @staticmethod
    def forward(ctx, rows, groups):
        ctx.inverse = rows.shape[3] // groups
        return _interleaved(rows, groups)

    @staticmethod
    def backward(ctx, gradient):
        return _interleaved(layout.incoming(gradient), ctx.inverse)
