"""Paddle's operations as steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppeconv.cpu.inference.graph import Graph, Step, Value
from ppeconv.cpu.inference.program import Operation, Program
from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.window import explicit_padding
from ppeconv.errors import UserError

_LOWERINGS: dict[str, Callable[[_Network, Operation], Any]] = {}

_BINARY: dict[str, tuple[int, Callable[..., np.ndarray]]] = {
    "add": (onednn.BINARY_ADD, np.add),
    "multiply": (onednn.BINARY_MULTIPLY, np.multiply),
    "maximum": (onednn.BINARY_MAX, np.maximum),
    "minimum": (onednn.BINARY_MIN, np.minimum),
    "divide": (onednn.BINARY_DIV, np.divide),
    "subtract": (onednn.BINARY_SUB, np.subtract),
}
COMMUTATIVE = {onednn.BINARY_ADD, onednn.BINARY_MULTIPLY, onednn.BINARY_MAX, onednn.BINARY_MIN}

_FUNCTIONS: dict[str, Callable[[dict[str, Any]], tuple[int, float, float]]] = {
    "relu": lambda settings: (onednn.RELU, 0.0, 0.0),
    "leaky_relu": lambda settings: (onednn.RELU, settings["negative_slope"], 0.0),
    "relu6": lambda settings: (onednn.CLIP, 0.0, 6.0),
    "hardtanh": lambda settings: (onednn.CLIP, settings["t_min"], settings["t_max"]),
    "sigmoid": lambda settings: (onednn.LOGISTIC, 0.0, 0.0),
    "tanh": lambda settings: (onednn.TANH, 0.0, 0.0),
    "elu": lambda settings: (onednn.ELU, settings["alpha"], 0.0),
    "hardsigmoid": lambda settings: (onednn.HARDSIGMOID, settings["slope"], settings["offset"]),
    "hardswish": lambda settings: (onednn.HARDSWISH, 1 / 6, 0.5),
    "swish": lambda settings: (onednn.SWISH, 1.0, 0.0),
    "silu": lambda settings: (onednn.SWISH, 1.0, 0.0),
    "mish": lambda settings: (onednn.MISH, 0.0, 0.0),
}
"""oneDNN's function and its two numbers."""


class _Network:
    """The steps so far."""

    def __init__(self):
        self.steps: list[Step] = []

    def step(self, kind: str, inputs: Sequence[Value], shape: Sequence[int], /, **settings: Any) -> Value:
        """Add a step; returns what it gives."""
        output = Value(tuple(shape))
        self.steps.append(Step(kind, list(inputs), output, settings))
        return output


def lower(prefix: Path) -> Graph:
    """The graph of an exported network.

    Args:
        prefix: path of the exported files without their endings.

    Raises:
        UserError: the network has an operation that is not known here.
    """
    network, program = _Network(), Program(prefix)
    image: Any = None
    result: Any = None
    for operation, take in program.operations():
        if operation.name == "data":
            image = Value(operation.shapes[0])
            take([image])
        elif operation.name in ("fetch", "shadow_output"):
            if result is not None:
                raise UserError(
                    "the runtime onednn gives one output, and this network has several; use another runtime"
                )
            result = operation.inputs[0]
        else:
            take(_lowered(network, operation))
    return Graph(image, result, network.steps)


def _lowered(network: _Network, operation: Operation) -> list[Any]:
    lowering = _LOWERINGS.get(operation.name)
    given = NotImplemented if lowering is None else lowering(network, operation)
    if given is NotImplemented:
        raise UserError(
            f"the runtime onednn does not know the operation {operation.name} of this network, in this form; "
            "use another runtime, such as paddle"
        )
    return [given] if isinstance(given, Value) else given


def _lowers(*names: str) -> Callable:
    def register(lowering: Callable) -> Callable:
        _LOWERINGS.update(dict.fromkeys(names, lowering))
        return lowering

    return register


@_lowers("full", "full_int_array", "assign_value_", "assign_value")
def _constant(network: _Network, operation: Operation) -> Value:
    settings = operation.settings
    numbers = np.asarray(settings.get("value", settings.get("values")))
    shape = operation.shapes[0]
    return Value(shape, np.broadcast_to(numbers, shape) if numbers.size == 1 else numbers.reshape(shape))


@_lowers("conv2d", "depthwise_conv2d")
def _convolution(network: _Network, operation: Operation) -> Value:
    image, weight = operation.inputs[:2]
    settings = operation.settings
    if settings["data_format"] != "NCHW" or weight.constant is None or image.constant is not None:
        return NotImplemented
    stride = tuple(settings["strides"])
    around = explicit_padding(
        settings["paddings"], settings["padding_algorithm"], image.shape[2:], weight.shape[2:], stride
    )
    return network.step(
        "convolution", [image, weight], operation.shapes[0],
        stride=stride, padding=around, dilation=tuple(settings["dilations"]), groups=settings["groups"],
    )  # fmt: skip


@_lowers(*_BINARY)
def _binary(network: _Network, operation: Operation) -> Value:
    kind, compute = _BINARY[operation.name]
    x, y = operation.inputs
    if x.constant is not None and y.constant is not None:
        numbers = compute(x.constant, y.constant)
        return Value(numbers.shape, numbers)
    if kind in COMMUTATIVE and (x.constant is not None or math.prod(x.shape[1:]) < math.prod(y.shape[1:])):
        x, y = y, x
    y = _beside(x, y)
    if x.constant is not None or y is None:
        return NotImplemented
    return network.step("binary", [x, y], operation.shapes[0], kind=kind)


def _beside(x: Value, y: Value) -> Value | None:
    """The second operand as one of the shape of x, one with a number for each channel, or a vector; else None."""
    if y.constant is None:
        return y if y.shape == x.shape or y.shape == (*x.shape[:2], *[1] * (len(x.shape) - 2)) else None
    aligned = (1,) * (len(x.shape) - y.constant.ndim) + y.constant.shape
    if len(aligned) != len(x.shape) or aligned[1] not in (1, x.shape[1]) or math.prod(aligned) != aligned[1]:
        return None
    return Value((1, *aligned[1:]), y.constant.astype(np.float32).reshape(-1))


@_lowers("batch_norm_", "batch_norm")
def _batch_norm(network: _Network, operation: Operation) -> list[Value]:
    x, mean, variance, *affine = operation.inputs[:5]
    scale, shift = (default if value is None else value.constant for value, default in zip(affine, (1, 0), strict=True))
    slope = scale / np.sqrt(variance.constant + operation.settings["epsilon"])
    offset = shift - mean.constant * slope
    for kind, numbers in ((onednn.BINARY_MULTIPLY, slope), (onednn.BINARY_ADD, offset)):
        vector = Value((1, numbers.size, 1, 1), numbers.astype(np.float32))
        x = network.step("binary", [x, vector], x.shape, kind=kind)
    return [x]


@_lowers(*_FUNCTIONS)
def _function(network: _Network, operation: Operation) -> Value:
    kind, alpha, beta = _FUNCTIONS[operation.name](operation.settings)
    return _applied(network, operation.inputs[0], kind, alpha, beta)


@_lowers("clip")
def _clip(network: _Network, operation: Operation) -> Value:
    x, low, high = operation.inputs
    return _applied(network, x, onednn.CLIP, low.constant.item(), high.constant.item())


@_lowers("scale")
def _scale(network: _Network, operation: Operation) -> Value:
    x, factor = operation.inputs
    settings, slope = operation.settings, factor.constant.item()
    offset = settings["bias"] * (1 if settings["bias_after_scale"] else slope)
    if x.constant is not None:
        return Value(x.shape, x.constant * slope + offset)
    return _applied(network, x, onednn.LINEAR, slope, offset)


def _applied(network: _Network, x: Value, kind: int, alpha: float, beta: float) -> Value:
    return network.step("function", [x], x.shape, kind=kind, alpha=alpha, beta=beta)


@_lowers("dropout")
def _dropout(network: _Network, operation: Operation) -> Value:
    x, _, share = operation.inputs
    if operation.settings["mode"] == "upscale_in_train":
        return x
    return _applied(network, x, onednn.LINEAR, 1 - share.constant.item(), 0.0)


@_lowers("assign", "share_data_")
def _unchanged(network: _Network, operation: Operation) -> list[Value]:
    return [operation.inputs[0]]


@_lowers("pool2d")
def _pool(network: _Network, operation: Operation) -> Value:
    image, window = operation.inputs
    return _pooled(network, image, operation, tuple(map(int, window.constant)))


@_lowers("max_pool2d_with_index")
def _max_pool(network: _Network, operation: Operation) -> list[Value]:
    settings = {"pooling_type": "max", "padding_algorithm": "EXPLICIT", "exclusive": True, **operation.settings}
    maxima = Operation(operation.name, operation.inputs, operation.shapes, settings)
    return [_pooled(network, operation.inputs[0], maxima, tuple(settings["kernel_size"]))]


def _pooled(network: _Network, image: Value, operation: Operation, kernel: tuple[int, ...]) -> Value:
    settings, (height, width) = operation.settings, image.shape[2:]
    stride = tuple(settings["strides"])
    around, size = (0, 0, 0, 0), operation.shapes[0][2:]
    if settings["global_pooling"]:
        kernel = stride = height, width
    elif settings["adaptive"]:
        if height % size[0] or width % size[1]:
            return NotImplemented
        kernel = stride = height // size[0], width // size[1]
    else:
        around = explicit_padding(settings["paddings"], settings["padding_algorithm"], (height, width), kernel, stride)
    top, bottom, left, right = around
    # An incomplete last window reaches behind the padding.
    bottom = (size[0] - 1) * stride[0] + kernel[0] - height - top
    right = (size[1] - 1) * stride[1] + kernel[1] - width - left
    beyond = bottom > around[1] or right > around[3]
    average = onednn.POOLING_AVERAGE_VALID if settings["exclusive"] else onednn.POOLING_AVERAGE_ALL
    if beyond and settings["pooling_type"] == "avg" and not settings["exclusive"]:
        return NotImplemented
    return network.step(
        "pooling", [image], operation.shapes[0],
        kind=onednn.POOLING_MAX if settings["pooling_type"] == "max" else average,
        kernel=kernel, stride=stride, padding=(top, bottom, left, right),
    )  # fmt: skip


@_lowers("mean")
def _mean(network: _Network, operation: Operation) -> Value:
    image, along = operation.inputs
    axes = {int(axis) % 4 for axis in along.constant}
    if len(image.shape) != 4 or axes != {2, 3}:
        return NotImplemented
    pooled = network.step(
        "pooling", [image], (*image.shape[:2], 1, 1), kind=onednn.POOLING_AVERAGE_VALID,
        kernel=image.shape[2:], stride=image.shape[2:], padding=(0, 0, 0, 0),
    )  # fmt: skip
    return pooled if operation.settings["keepdim"] else Value(pooled.shape[:2], same_as=pooled)


@_lowers("flatten", "reshape", "squeeze", "unsqueeze")
def _reshape(network: _Network, operation: Operation) -> list[Value]:
    x, shape = operation.inputs[0], operation.shapes[0]
    if x.constant is not None:
        return [Value(shape, x.constant.reshape(shape))]
    if len(shape) not in (2, 4) or len(x.shape) not in (2, 4) or shape[0] != -1:
        return NotImplemented
    channels_lead = all(math.prod(it[2:]) == 1 for it in (x.shape, shape))
    if channels_lead or shape == x.shape:
        return [Value(shape, same_as=x)]
    if len(shape) == 2:
        return [network.step("flatten", [x], shape)]
    return NotImplemented


@_lowers("matmul")
def _matmul(network: _Network, operation: Operation) -> Value:
    x, weight = operation.inputs
    settings = operation.settings
    if weight.constant is None or weight.constant.ndim != 2 or len(x.shape) != 2 or settings["transpose_x"]:
        return NotImplemented
    if settings["transpose_y"]:
        weight = Value(weight.shape[::-1], np.ascontiguousarray(weight.constant.T))
    return network.step("matmul", [x, weight], operation.shapes[0])


@_lowers("softmax")
def _softmax(network: _Network, operation: Operation) -> Value:
    (x,) = operation.inputs
    axis = operation.settings["axis"] % len(x.shape)
    return network.step("softmax", [x], x.shape, axis=axis) if len(x.shape) in (2, 4) and axis else NotImplemented


@_lowers("slice")
def _slice(network: _Network, operation: Operation) -> Value:
    x, starts, _ = operation.inputs
    axes = operation.settings["axes"]
    if x.constant is not None or 0 in axes or operation.settings["decrease_axis"]:
        return NotImplemented
    begin = [0] * len(x.shape)
    for axis, start in zip(axes, starts.constant, strict=True):
        begin[axis] = int(start) + (x.shape[axis] if start < 0 else 0)
    return _cut(network, x, begin, operation.shapes[0])


@_lowers("split", "split_with_num")
def _split(network: _Network, operation: Operation) -> list[list[Value]]:
    x, *others = operation.inputs
    axis = int(others[-1].constant.item()) % len(x.shape)
    if operation.name == "split":
        sizes = [int(size) for size in others[0].constant]
    else:
        sizes = [x.shape[axis] // operation.settings["num"]] * operation.settings["num"]
    parts, begin = [], [0] * len(x.shape)
    for size in sizes:
        shape = [size if axis == place else side for place, side in enumerate(x.shape)]
        parts.append(_cut(network, x, begin, shape))
        begin[axis] += size
    return [parts]


def _cut(network: _Network, x: Value, begin: Sequence[int], shape: Sequence[int]) -> Value:
    if tuple(shape) == x.shape:
        return x
    for step in network.steps:
        same = step.kind == "cut" and step.inputs == [x] and step.settings["begin"] == tuple(begin)
        if same and step.output.shape == tuple(shape):
            return step.output
    return network.step("cut", [x], shape, begin=tuple(begin))


@_lowers("concat")
def _concat(network: _Network, operation: Operation) -> Value:
    parts, axis = operation.inputs
    place = int(axis.constant.item()) % len(operation.shapes[0])
    if place == 0 or any(part.constant is not None for part in parts):
        return NotImplemented
    return network.step("join", parts, operation.shapes[0], axis=place)


@_lowers("channel_shuffle")
def _shuffle(network: _Network, operation: Operation) -> Value:
    (x,) = operation.inputs
    return network.step("shuffle", [x], x.shape, groups=operation.settings["groups"])


@_lowers("index_select")
def _gather(network: _Network, operation: Operation) -> Value:
    x, index = operation.inputs
    axis = operation.settings["axis"] % len(x.shape)
    if x.constant is not None:
        numbers = np.take(x.constant, index.constant, axis)
        return Value(numbers.shape, numbers)
    if axis == 0 or index.constant is None:
        return NotImplemented
    return network.step("gather", [x], operation.shapes[0], axis=axis, index=tuple(map(int, index.constant)))


@_lowers("prelu")
def _prelu(network: _Network, operation: Operation) -> Value:
    x, slope = operation.inputs
    zero = Value((1,) * len(x.shape), np.zeros(1, np.float32))
    slopes = _beside(x, Value(slope.shape, slope.constant.reshape(-1, *[1] * (len(x.shape) - 2))))
    if slopes is None:
        return NotImplemented
    negative = network.step("binary", [x, zero], x.shape, kind=onednn.BINARY_MIN)
    scaled = network.step("binary", [negative, slopes], x.shape, kind=onednn.BINARY_MULTIPLY)
    return network.step("binary", [scaled, _applied(network, x, onednn.RELU, 0, 0)], x.shape, kind=onednn.BINARY_ADD)


@_lowers("nearest_interp")
def _nearest(network: _Network, operation: Operation) -> Value:
    image = operation.inputs[0]
    if any(after % before for after, before in zip(operation.shapes[0][2:], image.shape[2:], strict=True)):
        return NotImplemented
    return network.step("resize", [image], operation.shapes[0])
