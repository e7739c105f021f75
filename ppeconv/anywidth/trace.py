"""Following the channels through any network: one forward pass with channel numbers in place of values.

Every channel of the image and of each layer's output gets a number of its own, spread over its pixels. What only moves
channels about (pooling, flattening, concatenation, slicing, a shuffle) moves the numbers; activations and arithmetic
of two tensors are watched and leave them as they are, noting which channels met. So each layer sees which channels
reach it, and anything that mixes channels gives numbers that belong to none, which the next layer refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from ppeconv import observe
from ppeconv.errors import UserError
from ppeconv.geometry import ConvGeometry

NOTHING = -1
"""The number of a channel of zeros."""
_POINTWISE = {
    *("relu", "relu6", "leaky_relu", "prelu", "elu", "celu", "selu", "gelu", "silu", "swish", "mish", "tanh", "exp"),
    *("sigmoid", "hardsigmoid", "hardswish", "hardtanh", "softplus", "softsign", "log_sigmoid", "scale"),
    *("sqrt", "square", "pow", "clip", "abs", "cast"),
}
_ARITHMETIC = {
    *("add", "sub", "mul", "truediv", "subtract", "multiply", "divide", "maximum", "minimum", "fmax", "fmin"),
}
_TOLERANCE = 1e-9

Handler = Callable[[nn.Layer, np.ndarray], np.ndarray]
"""From a layer and the numbers of its input channels to the numbers of its output channels."""
Meeting = Callable[[np.ndarray, np.ndarray, str], None]
"""Told of the numbers of the channels that met in an operation, pair by pair, and of the layer where."""


class WrongInput(Exception):
    """The network does not run on images of this size."""


class Tracer:
    """Runs a network on channel numbers.

    Args:
        model: the network.
        names: path of each layer that is handled.
        handle: called for each of these layers instead of its forward.
        meet: called for the channels that meet in an addition, a multiplication and the like.
        numbers: how many numbers there are.
    """

    def __init__(self, model: nn.Layer, names: Mapping[nn.Layer, str], handle: Handler, meet: Meeting, numbers: int):
        self.model, self.names, self.handle, self.meet = model, names, handle, meet
        self.values = 1 + (np.arange(numbers) + np.random.default_rng(0).random(numbers) / 2) / numbers
        self.running: list[nn.Layer] = []
        self.paths = {id(layer): path for path, layer in model.named_sublayers(include_self=True)}

    def run(self, numbers: np.ndarray, input_size: Sequence[int]) -> list[np.ndarray]:
        """The numbers of the channels of every output, when the input has channels with these."""
        for layer in self.names:
            layer.forward = self._forward(layer)
        try:
            with (
                observe.stock(self.model),
                paddle.no_grad(),
                observe.layers(self.model, self.running.append, lambda layer, output: self.running.pop()),
                observe.operations(self._watched),
            ):
                outputs = self.model(self._tensor(numbers, input_size[2:]))
        finally:
            for layer in self.names:
                del layer.forward
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        self.running = [self.model]
        return [self._read(output, "the network's output") for output in outputs]

    @property
    def where(self) -> str:
        """The innermost layer that runs, for messages."""
        layer = self.running[-1] if self.running else self.model
        path = self.paths.get(id(layer))
        return f"{path} ({type(layer).__name__})" if path else type(layer).__name__

    def _forward(self, layer: nn.Layer) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            numbers = self._read(x, self.where, axis=-1 if isinstance(layer, nn.Linear) else 1)
            result = self.handle(layer, numbers)
            if isinstance(layer, nn.Linear):
                shape = np.broadcast_to(self._value(result), [*x.shape[:-1], len(result)])
                return paddle.to_tensor(np.ascontiguousarray(shape))
            return self._tensor(result, _pixels(layer, x.shape[2:]))

        return forward

    def _value(self, numbers: np.ndarray) -> np.ndarray:
        return np.where(numbers == NOTHING, 0.0, self.values[numbers])

    def _tensor(self, numbers: np.ndarray, pixels: Sequence[int]) -> Tensor:
        value = self._value(numbers).reshape([1, -1] + [1] * len(pixels))
        return paddle.to_tensor(np.ascontiguousarray(np.broadcast_to(value, [1, len(numbers), *pixels])))

    def _numbers(self, values: np.ndarray, where: str) -> np.ndarray:
        """The numbers behind values."""
        nearest = np.clip(np.searchsorted(self.values, values - _TOLERANCE), 0, len(self.values) - 1)
        zero = values == 0
        if not (zero | (np.abs(self.values[nearest] - values) < _TOLERANCE)).all():
            raise UserError(
                f"{where} gets values whose channels cannot be followed; before it the network mixes channels by "
                "something that is neither a convolution nor a linear layer, or adds values of its own"
            )
        return np.where(zero, NOTHING, nearest)

    def _read(self, x: Any, where: str, axis: int = 1) -> np.ndarray:
        """The number of each channel of a tensor."""
        if not isinstance(x, Tensor) or x.ndim < 2:
            raise UserError(
                f"{where} should be a tensor [N, channels, ...]; got {x if x is None else type(x).__name__}"
            )
        values = np.moveaxis(x.numpy(), axis, 0).reshape(x.shape[axis], -1)
        if np.ptp(values, axis=1).max() > _TOLERANCE:
            raise UserError(f"{where} gets channels whose pixels come from several channels, so it cannot be cut")
        return self._numbers(values[:, 0], where)

    def _watched(self, name: str, operation: Callable) -> Callable:
        """The operation, or for pointwise ones and arithmetic what becomes of the numbers."""
        plain = name.rstrip("_")

        def pointwise(x: Tensor, *others: Any, **settings: Any) -> Any:
            return x if _is_numbers(x) else operation(x, *others, **settings)

        def arithmetic(x: Tensor, y: Any, *others: Any, **settings: Any) -> Any:
            if not _is_numbers(x) and not _is_numbers(y):
                return operation(x, y, *others, **settings)
            if not isinstance(y, Tensor) or y.size == 1 or y is x:
                return x
            return y if x.size == 1 else self._met(x, y)

        return pointwise if plain in _POINTWISE else arithmetic if plain in _ARITHMETIC else operation

    def _met(self, x: Tensor, y: Tensor) -> Tensor:
        try:
            left, right = np.broadcast_arrays(x.numpy(), y.numpy())
        except ValueError:
            raise WrongInput(f"tensors of shapes {x.shape} and {y.shape} meet") from None
        pairs = np.unique((left + 1j * right).reshape(-1))
        numbers = [self._numbers(side, self.where) for side in (pairs.real, pairs.imag)]
        both = (numbers[0] != NOTHING) & (numbers[1] != NOTHING)
        self.meet(numbers[0][both], numbers[1][both], self.where)
        return paddle.to_tensor(np.where(left == 0, right, left))


def brief(error: Exception) -> str:
    """The last line of what an exception says; Paddle's begin with a stack."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def _is_numbers(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype == paddle.float64


def _pixels(layer: nn.Layer, size: Sequence[int]) -> Sequence[int]:
    """Spatial size of a layer's output."""
    if isinstance(layer, nn.Conv2D):
        return ConvGeometry.of_layer(layer).output_size(*size)
    return [-(-side // getattr(layer, "stride", 1)) for side in size]
