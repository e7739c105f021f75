"""Which batch norm alone reads the output of which layer: seen in one run of the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import paddle
from paddle import Tensor, nn

from ppeconv.deployment.outputs import tensors
from ppeconv.errors import UserError
from ppeconv.layers.folding import is_foldable_norm


@dataclass
class _Run:
    """What was seen of a run."""

    calls: Counter[int] = field(default_factory=Counter)
    given: dict[int, tuple[int, Tensor, int]] = field(default_factory=dict)
    """Of a tensor: the layer that gave it, the tensor itself and how often it was changed in place by then."""
    read: dict[int, tuple[int, nn.Layer]] = field(default_factory=dict)
    """Of a tensor: the layer that gave it and the norm that read it."""


def norms_behind(
    model: nn.Layer, layers: Mapping[int, nn.Layer], image: Tensor
) -> tuple[list[Tensor], dict[int, nn.Layer]]:
    """The network's outputs, and for each of some layers the batch norm that can be folded into it, if there is one.

    That is a norm which is given the very tensor that the layer gave, both running once, where nothing else reads that
    tensor. Whether something does is asked of automatic differentiation: the norm is given a tensor cut off from the
    graph, so that a gradient reaches the layer's output only by another way.

    Args:
        model: in eval mode.
        layers: id -> layer.
        image: what to run it on.

    Raises:
        UserError: the network does not run on the image.
    """
    run = _Run()

    def gave(layer: nn.Layer, inputs: Any, output: Any) -> None:
        run.calls[id(layer)] += 1
        if isinstance(output, Tensor):
            output.stop_gradient = False
            run.given[id(output)] = id(layer), output, output.inplace_version

    def reads(norm: nn.Layer, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        run.calls[id(norm)] += 1
        giver, tensor, version = run.given.get(id(inputs[0]), (0, None, None))
        if tensor is not inputs[0] or tensor.inplace_version != version or id(tensor) in run.read:
            return inputs
        run.read[id(tensor)] = giver, norm
        return (tensor.detach(), *inputs[1:])

    norms = {id(layer): layer for layer in model.sublayers() if is_foldable_norm(layer)}
    with ExitStack() as undo:
        for layer in layers.values():
            undo.callback(layer.register_forward_post_hook(gave).remove)
        for norm in norms.values():
            undo.callback(norm.register_forward_pre_hook(reads).remove)
        try:
            outputs = tensors(model(image))
        except (ValueError, RuntimeError, TypeError) as error:
            last = str(error).strip().splitlines()[-1:]
            raise UserError(
                f"{type(model).__name__} does not run on an image {image.shape}: {''.join(last)}; give deploy an "
                "input_size that it runs on"
            ) from None
    pairs = {
        giver: norm
        for giver, norm in _without_other_readers(run, outputs)
        if run.calls[giver] == 1 and run.calls[id(norm)] == 1
    }
    return [output.detach() for output in outputs], pairs


def _without_other_readers(run: _Run, outputs: list[Tensor]) -> Iterator[tuple[int, nn.Layer]]:
    """Of what norms read, the pairs of giver and norm where no gradient comes from anything else.

    Every tensor that was given, and every output, adds its product with random numbers to a sum; the gradient of what
    nothing else reads is these very numbers.
    """
    given = [tensor for _, tensor, _ in run.given.values()]
    if not given:
        return
    numbers = [paddle.randn(tensor.shape, tensor.dtype) for tensor in given]
    total = sum((tensor * number).sum() for tensor, number in zip(given, numbers, strict=True))
    for output in outputs:
        if not output.stop_gradient:
            total = total + (output * paddle.randn(output.shape, output.dtype)).sum()
    gradients = paddle.grad(total, given, allow_unused=True)
    for tensor, number, gradient in zip(given, numbers, gradients, strict=True):
        if id(tensor) in run.read and bool((gradient == number).all()):
            yield run.read[id(tensor)]
