"""Parameters and multiply-adds, observed at operator level during one forward pass.

Convention: 1 multiply-add = 1 MAC; MACs are those of convolutions, linear layers and matrix products (attention and
recurrent layers are made of these), for one image; parameters are those that training changes, so batch-norm statistics
are left out. What ran besides is listed, never silently lost.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import paddle
from paddle import nn

from ppeconv import observe
from ppeconv.errors import UserError
from ppeconv.layers.parameters import float_type, own_parameters, parameter_count


@dataclass
class LayerCount:
    """One layer with work or parameters of its own."""

    path: str
    kind: str
    output: list[int]
    params: int = 0
    macs: int = 0


@dataclass
class Counts:
    """What `count` found."""

    params: int
    """Trainable parameters."""
    macs: int
    """Multiply-adds of convolutions, linear layers and matrix products for one image."""
    rows: list[LayerCount] = field(default_factory=list)
    uncounted: dict[str, int] = field(default_factory=dict)
    """Operations that count as zero, with the number of calls."""

    def table(self) -> str:
        """The rows and the totals, as text."""
        width = max((len(row.path) for row in self.rows), default=5)
        lines = [f"{'layer':<{width}}  {'kind':<14} {'output':<20} {'params':>12} {'MACs':>16}"]
        lines += [
            f"{row.path:<{width}}  {row.kind:<14} {row.output!s:<20} {row.params:>12,} {row.macs:>16,}"
            for row in self.rows
        ]
        lines.append(f"{'total':<{width}}  {'':<14} {'':<20} {self.params:>12,} {self.macs:>16,}")
        lines.append(
            "1 MAC = 1 multiply-add of a convolution, linear layer or matrix product, one image; batch-norm statistics "
            "are not parameters"
        )
        others = ", ".join(f"{name} x{calls}" for name, calls in sorted(self.uncounted.items()))
        return "\n".join(lines + ([f"counted as zero: {others}"] if others else []))


def count(model: nn.Layer, input_size: Sequence[int]) -> Counts:
    """Count a network by running it once on zeros, in eval mode, leaving it as it was.

    Args:
        model: any network with one image tensor as its input, of any number format; one in float16 or bfloat16, which
            a CPU does not run, is counted as a copy in float32.
        input_size: [N, C, H, W] or [C, H, W]; N does not matter, the counts are for one image.

    Raises:
        UserError: the network does not take such images.
    """
    size = [1, *list(input_size)[-3:]]
    if len(input_size) not in (3, 4) or min(size) < 1:
        raise UserError(f"input_size is [N, C, H, W] with positive sizes; got {list(input_size)}")
    tally, model = _Tally(), _runnable(model)
    with (
        observe.stock(model),
        paddle.no_grad(),
        observe.layers(model, tally.enter, tally.leave),
        observe.operations(tally.observed, ["__matmul__"]),
        observe.refusing_misfits(model, size[1:]),
    ):
        model(paddle.zeros(size, float_type(model)))
    rows = _rows(model, tally)
    return Counts(parameter_count(model), sum(row.macs for row in rows), rows, dict(tally.uncounted))


class _Tally:
    """Work seen so far, booked on the innermost layer that runs."""

    def __init__(self) -> None:
        self.running: list[nn.Layer] = []
        self.macs: Counter[int] = Counter()
        self.outputs: dict[int, list[int]] = {}
        self.uncounted: Counter[str] = Counter()

    def enter(self, layer: nn.Layer) -> None:
        self.running.append(layer)

    def leave(self, layer: nn.Layer, output: Any) -> None:
        self.running.pop()
        self.outputs[id(layer)] = list(output.shape) if isinstance(output, paddle.Tensor) else []

    def observed(self, name: str, operation: Callable) -> Callable:
        """The operation, reporting what it did."""

        def call(*args: Any, **kwargs: Any) -> Any:
            result = operation(*args, **kwargs)
            self.book(name.rstrip("_"), _Call(args, kwargs, result))
            return result

        return call

    def book(self, name: str, call: _Call) -> None:
        macs = _COUNTED[name](call) if name in _COUNTED else 0
        if macs:
            self.macs[id(self.running[-1])] += macs
        else:
            self.uncounted[name] += 1


@dataclass(frozen=True)
class _Call:
    """One call of an operation."""

    positional: Sequence[Any]
    named: Mapping[str, Any]
    result: Any

    def given(self, place: int, *names: str, default: Any = None) -> Any:
        """The argument at a place, or the one given by one of these names."""
        if place < len(self.positional):
            return self.positional[place]
        return next((self.named[name] for name in names if name in self.named), default)

    @property
    def written(self) -> int:
        """Numbers of the first tensor that came out."""
        first = self.result if isinstance(self.result, paddle.Tensor) else self.result[0]
        return math.prod(first.shape)


def _convolution_macs(call: _Call, place: int = 1) -> int:
    return call.written * math.prod(call.given(place, "filter", "weight").shape[1:])


def _transposed_macs(call: _Call) -> int:
    return math.prod(call.given(0, "x").shape) * math.prod(call.given(1, "filter", "weight").shape[1:])


def _product_macs(call: _Call, place: int = 0) -> int:
    """Of matrices, stacks of them, and vectors; the left one is at a place and not transposed."""
    return call.written * call.given(place, "x", "input", "mat1", "batch1").shape[-1]


def _matmul_macs(call: _Call) -> int:
    left = call.given(0, "x", "input")
    transposed = call.given(2, "transpose_x", default=False) and left.ndim > 1
    return call.written * left.shape[-2 if transposed else -1]


def _einsum_macs(call: _Call) -> int:
    """Of two operands with an index that is summed over; more are multiplied in an order that is Paddle's affair."""
    operands, equation = call.given(0, "x", "operands"), call.given(1, "equation").replace(" ", "")
    inputs, _, output = equation.partition("->")
    sizes: dict[str, int] = {}
    for indices, operand in zip(inputs.split(","), operands, strict=True):
        head, _, tail = indices.partition("...")
        sizes |= dict(zip(head, operand.shape, strict=False))
        sizes |= dict(zip(reversed(tail), reversed(operand.shape), strict=False))
    summed = [size for index, size in sizes.items() if index not in output]
    return call.written * math.prod(summed) if len(operands) == 2 and summed else 0


def _recurrent_macs(call: _Call) -> int:
    """Each step multiplies by each matrix of LSTM, GRU or SimpleRNN once; x is [steps, N, channels]."""
    steps, images = call.given(0, "x").shape[:2]
    weights = call.given(2, "weight_list")
    return steps * images * sum(math.prod(weight.shape) for weight in weights if weight.ndim == 2)


_COUNTED: dict[str, Callable[[_Call], int]] = {
    "conv2d": _convolution_macs,
    "depthwise_conv2d": _convolution_macs,
    "conv3d": _convolution_macs,
    "deformable_conv": partial(_convolution_macs, place=2),
    "conv2d_transpose": _transposed_macs,
    "depthwise_conv2d_transpose": _transposed_macs,
    "conv3d_transpose": _transposed_macs,
    "conv2d_transpose_bias": _transposed_macs,
    "linear": _product_macs,
    "linear_v2": _product_macs,
    "matmul": _matmul_macs,
    "bmm": _product_macs,
    "mv": _product_macs,
    "dot": _product_macs,
    "addmm": partial(_product_macs, place=1),
    "baddbmm": partial(_product_macs, place=1),
    "einsum": _einsum_macs,
    "rnn": _recurrent_macs,
}


def _runnable(model: nn.Layer) -> nn.Layer:
    half = any(value.dtype in (paddle.float16, paddle.bfloat16) for value in model.parameters())
    return copy.deepcopy(model)._to_impl(dtype="float32", floating_only=True) if half else model


def _rows(model: nn.Layer, tally: _Tally) -> list[LayerCount]:
    named = {id(layer): (path, layer) for path, layer in reversed(list(model.named_sublayers(include_self=True)))}
    rows = [
        LayerCount(
            path or type(model).__name__,
            type(layer).__name__,
            tally.outputs.get(key, []),
            sum(math.prod(p.shape) for p in own_parameters(layer).values()),
            tally.macs[key],
        )
        for key, (path, layer) in reversed(named.items())
    ]
    return [row for row in rows if row.params or row.macs]
