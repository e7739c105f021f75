"""What stands in for Paddle's functions: the fast layers where they can serve, the original elsewhere.

Each function here takes the original and returns its stand-in. The choice follows from shapes and
types, never from measured time, so a resumed run makes it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle
from paddle import Tensor
from paddle.nn import functional

from ppeconv.cpu.library import onednn, openmp
from ppeconv.cpu.library.window import Geometry, explicit_padding
from ppeconv.cpu.training import channels, conv, layout, norm, pool, precision, rectify
from ppeconv.cpu.training.rounding import alike, rows_in


def _serves(x: Any, *operands: Tensor | None) -> bool:
    """Whether x is an [N, C, H, W] activation on the CPU, in float32 or bfloat16, and the operands are float32."""
    if not _has_rows(x) and not (type(x) is Tensor and _is_image(x) and x.place.is_cpu_place()):
        return False
    return all(it is None or it.dtype == paddle.float32 for it in operands)


def _convolve(x, weight, stride, padding, algorithm, dilation, groups, data_format, bias=None):
    """The convolution by the fast layers; None where they do not serve."""
    if data_format != "NCHW" or not _serves(x, weight, bias):
        return None
    shape, kernel = x.shape, weight.shape
    geometry = Geometry(
        tuple(shape), tuple(kernel), tuple(stride),
        explicit_padding(padding, algorithm, shape[2:], kernel[2:], stride),
        (1, 1) if algorithm == "SAME" else tuple(dilation),
        groups, bias is not None, openmp.threads(), precision.data_type(),
    )  # fmt: skip
    steps = conv.plan(geometry)
    if steps is None:
        return None
    return layout.image(conv.Convolution.apply(layout.to_rows(x), weight, bias, steps))


def conv2d(original: Callable) -> Callable:
    """Convolution without bias."""

    def stand_in(x, weight, stride, padding, algorithm, dilation, groups, data_format):
        result = _convolve(x, weight, stride, padding, algorithm, dilation, groups, data_format)
        if result is None:
            return original(x, weight, stride, padding, algorithm, dilation, groups, data_format)
        return result

    return stand_in


def depthwise_conv2d(original: Callable) -> Callable:
    """Convolution without bias, its arguments in the depthwise operator's order."""

    def stand_in(x, weight, stride, padding, algorithm, groups, dilation, data_format):
        result = _convolve(x, weight, stride, padding, algorithm, dilation, groups, data_format)
        if result is None:
            return original(x, weight, stride, padding, algorithm, groups, dilation, data_format)
        return result

    return stand_in


def convolution(original: Callable) -> Callable:
    """Convolution of any kind, with its bias: what Paddle's layers call."""

    def stand_in(
        x, weight, bias=None, stride=1, padding=0, padding_algorithm=None, dilation=1, groups=1, data_format="NCHW",
        channel_dim=1, op_type="conv2d", *rest, **named,
    ):  # fmt: skip
        how = stride, padding, padding_algorithm, dilation, groups, data_format
        result = _convolve(x, weight, *how, bias) if op_type in ("conv2d", "depthwise_conv2d") else None
        if result is None:
            return original(x, weight, bias, *how, channel_dim, op_type, *rest, **named)
        return result

    return stand_in


def with_bias(original: Callable) -> Callable:
    """Convolution as users call it; Paddle adds the bias in an operation of its own."""
    read_padding, both = functional.conv._update_padding_nd, functional.conv.convert_to_list

    def stand_in(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, data_format="NCHW", name=None):
        result = None
        if bias is not None and groups and _serves(x, weight, bias):
            around, algorithm = read_padding(padding, data_format == "NHWC", 2)
            steps, gaps = both(stride, 2, "stride"), both(dilation, 2, "dilation")
            result = _convolve(x, weight, steps, around, algorithm, gaps, groups, data_format, bias)
        if result is None:
            return original(x, weight, bias, stride, padding, dilation, groups, data_format, name)
        return result

    return stand_in


def batch_norm(original: Callable) -> Callable:
    """Batch normalisation by the batch's own statistics or by the running ones."""

    def stand_in(x, mean, variance, scale, shift, is_test, momentum, epsilon, data_format, *rest):
        steps, (use_global_stats, trainable_statistics) = None, rest
        fixed = use_global_stats or (is_test and not trainable_statistics)
        if scale is not None and shift is not None and data_format == "NCHW" and _serves(x, scale, shift):
            steps = norm.plan(tuple(x.shape), epsilon, layout.data_type(x), openmp.threads())
        # Of a single value in each channel Paddle takes no statistics.
        if steps is None or (not fixed and steps.positions == 1):
            return original(x, mean, variance, scale, shift, is_test, momentum, epsilon, data_format, *rest)
        rows = rows_in(steps.data_type, layout.to_rows(x))
        parameters = scale.numpy(), shift.numpy()
        statistics = norm.Statistics(mean.numpy(), variance.numpy()) if fixed else steps.measure(rows)
        table = steps.table(*parameters, *statistics)
        result = norm.BatchNorm.apply(rows, scale, shift, table, steps, not fixed)
        if not fixed:
            norm.follow((mean, variance), statistics, momentum)
            rectify.describe_norm(result, rows, scale, shift, table, steps)
        return layout.image(result), mean, variance, None, None, None

    return stand_in


def pool2d(original: Callable) -> Callable:
    """Maximum and average pooling, and the average of a whole image."""

    def stand_in(x, kernel, stride, padding, ceil, exclusive, data_format, *how):
        geometry = None
        if data_format == "NCHW" and _serves(x):
            geometry = _pooling(x.shape, kernel, stride, padding, ceil, exclusive, *how)
        steps = None if geometry is None else pool.plan(geometry._replace(data_type=layout.data_type(x)))
        if steps is None:
            return original(x, kernel, stride, padding, ceil, exclusive, data_format, *how)
        return layout.image(pool.Pooling.apply(rows_in(steps.data_type, layout.to_rows(x)), steps))

    return stand_in


def _pooling(shape, kernel, stride, padding, ceil, exclusive, kind, whole, adaptive, algorithm):
    """The geometry of a pooling call, None where the fast layers do not take it."""
    size = shape[2:]
    kernel = [kernel, kernel] if isinstance(kernel, int) else list(kernel)
    if whole or (adaptive and kernel == [1, 1]):
        kernel, stride, padding = size, [1, 1], [0, 0]
    elif adaptive or (ceil and kind == "avg" and not exclusive):
        return None
    around = explicit_padding(padding, algorithm, size, kernel, stride)
    average = onednn.POOLING_AVERAGE_VALID if exclusive else onednn.POOLING_AVERAGE_ALL
    return pool.Geometry(
        tuple(shape), tuple(kernel), tuple(stride), around, ceil,
        onednn.POOLING_MAX if kind == "max" else average, openmp.threads(),
    )  # fmt: skip


def concat(original: Callable) -> Callable:
    """Joining along any axis."""

    def stand_in(tensors, axis):
        if axis in (1, -3) and any(_has_rows(it) for it in tensors) and all(map(_is_image, tensors)):
            return layout.image(channels.Join.apply(*alike(*map(layout.to_rows, tensors))))
        return original(tensors, axis)

    return stand_in


def split(original: Callable) -> Callable:
    """Cutting into sections of given sizes."""

    def stand_in(x, sections, axis):
        if axis in (1, -3) and _has_rows(x) and isinstance(sections, list | tuple):
            rest = x.shape[1] - sum(size for size in sections if size > 0)
            return _cut(x, tuple(rest if size < 0 else size for size in sections))
        return original(x, sections, axis)

    return stand_in


def split_with_num(original: Callable) -> Callable:
    """Cutting into equal sections."""

    def stand_in(x, number, axis):
        if axis in (1, -3) and _has_rows(x) and x.shape[1] % number == 0:
            return _cut(x, (x.shape[1] // number,) * number)
        return original(x, number, axis)

    return stand_in


def _cut(x: Tensor, sections: tuple[int, ...]) -> list[Tensor]:
    return [layout.image(part) for part in channels.Cut.apply(layout.remembered_rows(x), sections)]


def getitem(original: Callable) -> Callable:
    """Indexing; `x[:, a:b]` is the range of channels a to b."""

    def stand_in(x, index):
        sections = _channel_range(x, index) if _has_rows(x) else None
        if sections is None:
            return original(x, index)
        rows, filled = layout.remembered_rows(x), tuple(filter(None, sections))
        parts = layout.once(rows, filled, lambda: channels.Cut.apply(rows, filled))
        return layout.image(parts[1 if sections[0] else 0])

    return stand_in


def _channel_range(x: Tensor, index: object) -> tuple[int, int, int] | None:
    """How many channels lie before, in and after the range an index asks for; None for other indices."""
    if not isinstance(index, tuple) or not 2 <= len(index) <= 4:
        return None
    wanted, everything = index[1], slice(None)
    if not isinstance(wanted, slice) or any(it != everything for it in (index[0], *index[2:])):
        return None
    if any(not isinstance(it, int | None) for it in (wanted.start, wanted.stop, wanted.step)):
        return None
    start, stop, step = wanted.indices(x.shape[1])
    return (start, stop - start, x.shape[1] - stop) if step == 1 and stop > start else None


def channel_shuffle(original: Callable) -> Callable:
    """Interleaving of channel groups."""

    def stand_in(x, groups, data_format):
        if data_format == "NCHW" and _has_rows(x) and x.shape[1] % groups == 0:
            return layout.image(channels.Shuffle.apply(layout.remembered_rows(x), groups))
        return original(x, groups, data_format)

    return stand_in


def mean(original: Callable) -> Callable:
    """Averaging; over both spatial axes it is a pooling of the whole image."""

    def stand_in(x, axis, keepdim):
        if not (_has_rows(x) and _is_spatial(axis)):
            return original(x, axis, keepdim)
        pooled = functional.adaptive_avg_pool2d(x, 1)
        return pooled if keepdim else pooled.flatten(1)

    return stand_in


def _is_spatial(axis: object) -> bool:
    return isinstance(axis, list | tuple) and sorted(it % 4 for it in axis) == [2, 3]


def _has_rows(x: object) -> bool:
    return layout.remembered_rows(x) is not None


def _is_image(x: Tensor) -> bool:
    return x.ndim == 4 and layout.holds(x)
