"""Fitting a layer to what another one gives: by least squares where it is linear in its parameters, else by Adam."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import paddle
from paddle import Tensor, nn

from ppeconv import observe
from ppeconv.layers.parameters import own_parameters
from ppeconv.layers.statistics import measure_statistics, measures

EXACT = 1e-5
"""Relative error up to which two layers are the same but for rounding."""


@dataclass(frozen=True)
class Fit:
    """How near a layer came to its targets.

    Errors are relative: the root of the squared error over the targets' squared deviation from the means that their
    channels have in a batch. 0 is exact, and 1 no better than these means.
    """

    before: float
    after: float
    method: str

    def __str__(self) -> str:
        return self.method if self.method == "exact" else f"{self.method}, error {self.before:.3f} -> {self.after:.3f}"


def fit(
    layer: nn.Layer,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    norm: nn.Layer | None = None,
    steps: int = 200,
    learning_rate: float = 0.03,
    iterations: int = 60,
    tolerance: float = 1e-5,
    seed: int = 0,
) -> Fit:
    """Change a layer's parameters so that it gives the targets for the inputs, in place; it is never worse after it.

    The parameters in which the output is linear are found by trying. Where they are all, conjugate gradients solve the
    least squares problem from the parameters as they are; else Adam changes all of them, with cosine decay and batch
    norms inside in training mode, whose statistics are then measured on all inputs, and least squares those that are
    linear once more.

    Args:
        layer: [N, C_in, H, W] -> [N, C, H', W'].
        inputs, targets: batches of the two; the batches are also those of Adam.
        norm: the batch norm that reads the output, where there is one: errors then count as it scales its channels,
            and means do not count, as it takes them out.
        steps, learning_rate: of Adam.
        iterations: of conjugate gradients, at most.
        tolerance: a step of theirs that lowers the squared relative error by less is the last one.
        seed: of the order of batches.

    Returns:
        The relative errors before and after, and how.
    """
    data = _Data(inputs, targets, _Measure.behind(norm))
    with observe.evaluating(layer), _released(layer):
        linear = linear_parameters(layer, inputs[0][:4], seed)
        trained = _trained(layer)
        best = _Best(layer, data)
        first = best.error
        if first <= EXACT or not trained:
            return Fit(first, first, "exact" if first <= EXACT else "nothing to fit")
        if len(linear) < len(trained):
            _adam(layer, trained, data, steps, learning_rate, seed)
            measure_statistics(layer, inputs)
            best.offer()
        if linear:
            _least_squares(layer, linear, data, iterations, tolerance)
            best.offer()
    return Fit(first, best.error, "least squares" if len(linear) == len(trained) else "Adam")


def relative_error(
    layer: nn.Layer, inputs: Sequence[Tensor], targets: Sequence[Tensor], norm: nn.Layer | None = None
) -> float:
    """How far a layer is from targets, as `Fit` has it; such as on images that it was not fitted on."""
    with observe.evaluating(layer):
        return _Data(inputs, targets, _Measure.behind(norm)).error(layer)


def linear_parameters(layer: nn.Layer, inputs: Tensor, seed: int = 0) -> list[Tensor]:
    """Parameters in which, taken together, a layer's output in training mode is affine; the last ones are tried first.

    That is f(a + b) = f(a) + f(b) - f(0) for random a and b.
    """
    state = _copied(layer.state_dict())
    random = np.random.default_rng(seed)
    found: list[Tensor] = []
    for parameter in reversed(_trained(layer)):
        tried = [*found, parameter]
        values = [[random.standard_normal(it.shape).astype(np.float32) for it in tried] for _ in range(2)]
        both = [a + b for a, b in zip(*values, strict=True)]
        zero = [np.zeros_like(a) for a in both]
        given = _copied(layer.state_dict())
        a, b, sum_, none = (_output_with(layer, tried, it, inputs) for it in (*values, both, zero))
        layer.set_state_dict(given)
        size = np.abs(np.stack([a - none, b - none])).max()
        if np.abs(sum_ + none - a - b).max() <= 1e-3 * size:
            found = tried
    layer.set_state_dict(state)
    return found


def _least_squares(
    layer: nn.Layer, parameters: Sequence[Tensor], data: _Data, iterations: int = 60, tolerance: float = 1e-5
) -> None:
    """Minimise the error over parameters in which the output is affine, by conjugate gradients from their values.

    A ridge of a millionth of the largest curvature holds what the data say nothing of where it was.

    Args:
        layer, parameters: of them.
        data: inputs and targets.
        iterations: at most.
        tolerance: a step that lowers the squared relative error by less is the last one.
    """
    start = _flat(parameters)
    residual = -data.gradient(layer, parameters)
    _set(parameters, np.zeros_like(start))
    with paddle.no_grad():
        resting = [layer(x) for x in data.inputs]

    def curvature(direction: np.ndarray) -> np.ndarray:
        _set(parameters, direction)
        return data.gradient(layer, parameters, resting)

    step, direction = np.zeros_like(start), residual.copy()
    size, ridge = float(residual @ residual), None
    for _ in range(iterations if size else 0):
        bent, length = curvature(direction), float(direction @ direction)
        ridge = 1e-6 * float(direction @ bent) / length if ridge is None else ridge
        bent += ridge * direction
        rise = float(direction @ bent)
        if rise <= 0:  # nothing but rounding is left
            break
        step += size / rise * direction
        if size * size / rise <= tolerance:
            break
        residual -= size / rise * bent
        size, before = float(residual @ residual), size
        direction = residual + size / before * direction
    _set(parameters, start + step)


@dataclass(frozen=True)
class _Measure:
    """How an error counts: channels times a scale, without their means where `centred`."""

    scale: Tensor | None = None
    centred: bool = False

    @classmethod
    def behind(cls, norm: nn.Layer | None) -> _Measure:
        """As a batch norm sees it."""
        if norm is None or not measures(norm):
            return cls()
        scale = (norm._variance + norm._epsilon).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight
        return cls(scale.detach(), True)

    def squares(self, difference: Tensor) -> Tensor:
        """Their sum. Paddle is slow at what broadcasts over a map, so that a channel's sums stand for all of it."""
        maps = difference.flatten(2)
        found = maps.square().sum(-1).sum(0)
        if self.centred:
            found = found - maps.sum(-1).sum(0).square() / (maps.shape[0] * maps.shape[2])
        return (found if self.scale is None else found * self.scale.square().astype(found.dtype)).sum()


class _Data:
    """Inputs, targets and how errors between an output and them count."""

    def __init__(self, inputs: Sequence[Tensor], targets: Sequence[Tensor], measure: _Measure):
        self.inputs, self.targets, self.measure = list(inputs), list(targets), measure
        deviation = replace(measure, centred=True)
        self.squares = sum(_precise(deviation, y) for y in targets) or 1.0

    def loss(self, layer: nn.Layer, number: int) -> Tensor:
        """The squared error on one batch, relative to the targets' deviation in a batch."""
        share = len(self.inputs) / self.squares
        return self.measure.squares(layer(self.inputs[number]) - self.targets[number]) * share

    @paddle.no_grad()
    def error(self, layer: nn.Layer) -> float:
        """The relative error on all batches."""
        pairs = zip(self.inputs, self.targets, strict=True)
        found = sum(_precise(self.measure, layer(x) - y) for x, y in pairs)
        return math.sqrt(found / self.squares) if math.isfinite(found) else math.inf

    def gradient(
        self, layer: nn.Layer, parameters: Sequence[Tensor], targets: Sequence[Tensor] | None = None
    ) -> np.ndarray:
        """Of half the squared error, with these targets or others, as one vector."""
        total = np.zeros(sum(math.prod(p.shape) for p in parameters))
        for x, y in zip(self.inputs, targets or self.targets, strict=True):
            (self.measure.squares(layer(x) - y) / 2).backward()  # not paddle.grad, which the fast layers do not know
            gradients = [p.grad for p in parameters]
            total = total + np.concatenate(
                [
                    np.zeros(math.prod(p.shape)) if g is None else g.numpy().astype(np.float64).ravel()
                    for p, g in zip(parameters, gradients, strict=True)
                ]
            )
            _forget_gradients(layer)
        return total / self.squares


def _precise(measure: _Measure, difference: Tensor) -> float:
    """Squares in float64, as a channel's mean may be far above its deviation; never below 0."""
    return max(float(measure.squares(difference.detach().astype("float64"))), 0.0)


class _Best:
    """The state of a layer that had the smallest error so far."""

    def __init__(self, layer: nn.Layer, data: _Data):
        self.layer, self.data = layer, data
        self.error, self.state = data.error(layer), _copied(layer.state_dict())

    def offer(self) -> None:
        """Take the state as it is where it is better, else go back to the best one."""
        if (error := self.data.error(self.layer)) < self.error:
            self.error, self.state = error, _copied(self.layer.state_dict())
        else:
            self.restore()

    def restore(self) -> None:
        """Go back to it."""
        self.layer.set_state_dict(self.state)


def _adam(
    layer: nn.Layer, parameters: Sequence[Tensor], data: _Data, steps: int, learning_rate: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(learning_rate, steps)
    optimizer = paddle.optimizer.Adam(schedule, parameters=list(parameters))
    layer.train()
    for number in _orders(random, len(data.inputs), steps):
        data.loss(layer, number).backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
    layer.eval()


def _orders(random: np.random.Generator, batches: int, steps: int) -> Iterator[int]:
    """Numbers of batches, each as often as the others."""
    rounds = -(-steps // batches)
    yield from np.concatenate([random.permutation(batches) for _ in range(rounds)])[:steps].tolist()


@contextmanager
def _released(layer: nn.Layer) -> Iterator[None]:
    """Inside the block every parameter learns alike; frozen ones, rates and regularisers are as before after it."""
    parameters = _trained(layer)
    kept = [(it.stop_gradient, it.optimize_attr, it.regularizer, it.need_clip) for it in parameters]
    for it in parameters:
        it.stop_gradient, it.optimize_attr, it.regularizer = False, {"learning_rate": 1.0}, None
    try:
        yield
    finally:
        _forget_gradients(layer)
        for it, values in zip(parameters, kept, strict=True):
            it.stop_gradient, it.optimize_attr, it.regularizer, it.need_clip = values


def _forget_gradients(layer: nn.Layer) -> None:
    for value in (*_trained(layer), *layer.buffers()):
        if value.grad is not None:
            value.clear_gradient(set_to_zero=False)


def _trained(layer: nn.Layer) -> list[Tensor]:
    return [value for sub in layer.sublayers(include_self=True) for value in own_parameters(sub).values()]


@paddle.no_grad()
def _output_with(layer: nn.Layer, parameters: Sequence[Tensor], values: Sequence[np.ndarray], x: Tensor) -> np.ndarray:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.set_value(value)
    layer.train()
    output = layer(x).numpy().astype(np.float64)
    layer.eval()
    return output


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def _flat(parameters: Sequence[Tensor]) -> np.ndarray:
    return np.concatenate([value.numpy().astype(np.float64).ravel() for value in parameters])


def _set(parameters: Sequence[Tensor], values: np.ndarray) -> None:
    start = 0
    for parameter in parameters:
        size = math.prod(parameter.shape)
        parameter.set_value(values[start : start + size].reshape(parameter.shape).astype(np.float32))
        start += size
