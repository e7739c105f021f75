"""Parameters and multiply-adds, observed at operator level during one forward pass.

Convention: 1 multiply-add = 1 MAC; MACs are those of convolutions and of linear layers, for one image; parameters are
those that training changes, so batch-norm statistics are left out. What ran besides is listed, never silently lost.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import paddle
from paddle import nn

from ppeconv import backend, observe
from ppeconv.errors import UserError

NORMS = (nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D, nn.SyncBatchNorm)
"""Layers whose `_mean` and `_variance` are statistics, not parameters."""


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
    """Multiply-adds of convolutions and linear layers for one image."""
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
            "1 MAC = 1 multiply-add of a convolution or linear layer, one image; batch-norm statistics are not "
            "parameters"
        )
        others = ", ".join(f"{name} x{calls}" for name, calls in sorted(self.uncounted.items()))
        return "\n".join(lines + ([f"counted as zero: {others}"] if others else []))


def parameter_count(layer: nn.Layer) -> int:
    """Trainable parameters of a layer and all below it; frozen ones count, batch-norm statistics do not."""
    parameters = {id(p): p for sub in layer.sublayers(include_self=True) for p in _own_parameters(sub)}
    return sum(math.prod(p.shape) for p in parameters.values())


def count(model: nn.Layer, input_size: Sequence[int]) -> Counts:
    """Count a network by running it once on zeros, in eval mode, leaving it as it was.

    Args:
        model: any network with one image tensor as its input.
        input_size: [N, C, H, W] or [C, H, W]; N does not matter, the counts are for one image.
    """
    size = [1, *list(input_size)[-3:]]
    if len(input_size) not in (3, 4) or min(size) < 1:
        raise UserError(f"input_size is [N, C, H, W] with positive sizes; got {list(input_size)}")
    tally = _Tally()
    with (
        observe.evaluating(model),
        backend.disabled(),
        paddle.no_grad(),
        observe.layers(model, tally.enter, tally.leave),
        observe.operations(tally.observed, ["__matmul__"]),
    ):
        model(paddle.zeros(size))
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
            self.book(name, args, result)
            return result

        return call

    def book(self, name: str, arguments: Sequence[Any], result: Any) -> None:
        macs = _COUNTED[name](arguments, result) if name in _COUNTED else 0
        if macs:
            self.macs[id(self.running[-1])] += macs
        else:
            self.uncounted[name.rstrip("_")] += 1


def _convolution_macs(arguments: Sequence[Any], result: Any) -> int:
    return math.prod(result.shape) * math.prod(arguments[1].shape[1:])


def _transposed_macs(arguments: Sequence[Any], result: Any) -> int:
    return math.prod(arguments[0].shape) * math.prod(arguments[1].shape[1:])


def _linear_macs(arguments: Sequence[Any], result: Any) -> int:
    return math.prod(result.shape) * arguments[0].shape[-1]


def _matmul_macs(arguments: Sequence[Any], result: Any) -> int:
    """A product with a matrix is a linear layer; one between stacks of matrices (attention) counts as zero."""
    return _linear_macs(arguments, result) if min(a.ndim for a in arguments[:2]) == 2 else 0


_COUNTED: dict[str, Callable[[Sequence[Any], Any], int]] = {
    "conv2d": _convolution_macs,
    "depthwise_conv2d": _convolution_macs,
    "conv3d": _convolution_macs,
    "conv2d_transpose": _transposed_macs,
    "depthwise_conv2d_transpose": _transposed_macs,
    "conv3d_transpose": _transposed_macs,
    "conv2d_transpose_bias": _transposed_macs,
    "linear": _linear_macs,
    "linear_v2": _linear_macs,
    "matmul": _matmul_macs,
}


def _rows(model: nn.Layer, tally: _Tally) -> list[LayerCount]:
    named = {id(layer): (path, layer) for path, layer in reversed(list(model.named_sublayers(include_self=True)))}
    rows = [
        LayerCount(
            path or type(model).__name__,
            type(layer).__name__,
            tally.outputs.get(key, []),
            sum(math.prod(p.shape) for p in _own_parameters(layer)),
            tally.macs[key],
        )
        for key, (path, layer) in reversed(named.items())
    ]
    return [row for row in rows if row.params or row.macs]


def _own_parameters(layer: nn.Layer) -> Iterator[paddle.Tensor]:
    statistics = ("_mean", "_variance") if isinstance(layer, NORMS) else ()
    return (p for name, p in layer._parameters.items() if p is not None and name not in statistics)
