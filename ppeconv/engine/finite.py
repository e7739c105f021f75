"""Numbers that are no longer finite: where they first appear, and how a network gets back behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle
from paddle import Tensor, nn

from ppeconv import observe
from ppeconv.layers.statistics import running_statistics


def gradients_are_finite(model: nn.Layer) -> bool:
    """Whether all gradients that there are are numbers; their sums are looked at."""
    sums = [parameter.grad.sum() for parameter in model.parameters() if parameter.grad is not None]
    return not sums or bool(paddle.isfinite(paddle.add_n(sums)))


def origin(model: nn.Layer, images: Tensor, step: Callable[[], object]) -> str:
    """Where numbers that are not finite first appear in a step, as a part of a sentence; "" where nowhere.

    Args:
        model: the network, with the weights before the update and the gradients of the step.
        images: what the step was given.
        step: does the forward pass of the step once more.
    """
    if not _finite(images):
        return ", first in the images themselves, after their transforms"
    trained = [(name, parameter) for name, parameter in model.named_parameters() if not parameter.stop_gradient]
    for name, parameter in trained:
        if not _finite(parameter):
            return f", first in the weights {name}"
    paths = {id(layer): path for path, layer in model.named_sublayers(include_self=True)}
    found: list[str] = []

    def leave(layer: nn.Layer, output: Any) -> None:
        if not found and not all(map(_finite, _tensors(output))):
            found.append(f", first in the output of {paths[id(layer)] or 'the network'} ({type(layer).__name__})")

    with paddle.no_grad(), observe.layers(model, lambda layer: None, leave):
        step()
    if found:
        return found[0]
    spoilt = [name for name, parameter in trained if parameter.grad is not None and not _finite(parameter.grad)]
    return f", first in the gradient of {spoilt[-1]}" if spoilt else ""  # the backward pass comes to the last one first


class Statistics:
    """A copy of what a forward pass changes in a network: running statistics of batch norms, and buffers."""

    def __init__(self, model: nn.Layer):
        tensors = [*running_statistics(model), *model.buffers()]
        self.copies = [(tensor, tensor.clone()) for tensor in tensors]

    def put_back(self) -> None:
        """Give the network the copied values."""
        for tensor, copy in self.copies:
            tensor.set_value(copy)


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(paddle.isfinite(tensor).all())


def _tensors(value: Any) -> list[Tensor]:
    return [inner for inner in paddle.utils.flatten([value]) if isinstance(inner, Tensor)]
