"""How the weights of a network start: one named rule for each network, from its paper or its reference code.

A backbone names its rule in the class attribute `init`. The rule holds for the whole network, the layers of operators
put into it among them. A layer that was made with an initializer of its own keeps what that gave.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from paddle import nn
from paddle.nn.initializer import Constant, Initializer, Normal, Uniform

from ppeconv.backbones.external import is_external
from ppeconv.registry import BACKBONES

Init = Literal["reference", "paddle"]
"""The rule of the network's paper or reference code, or Paddle's own initializers."""


@dataclass(frozen=True)
class Fans:
    """Of one filter: the numbers that are summed into an output, and the numbers that an input is summed into.

    Counted as the reference code counts them: the outputs of a grouped convolution are those of all groups.
    """

    inputs: int
    outputs: int

    @classmethod
    def of(cls, layer: nn.Layer) -> Fans:
        """Those of a convolution or a linear layer."""
        shape = layer.weight.shape
        if isinstance(layer, nn.Linear):
            return cls(*shape)
        window = math.prod(shape[2:])
        return cls(shape[1] * window, shape[0] * window)


Start = Callable[[Fans], Initializer]


@dataclass(frozen=True)
class Rule:
    """A network's start.

    Args:
        source: what the rule is, and whose.
        conv, linear: of their weights; None leaves Paddle's.
        conv_bias, linear_bias: of their biases, zero where not given.
    """

    source: str
    conv: Start | None
    linear: Start | None
    conv_bias: Start = lambda fans: Constant(0.0)
    linear_bias: Start = lambda fans: Constant(0.0)


def he_inputs(fans: Fans) -> Initializer:
    """Normal, variance 2 / inputs (arXiv 1502.01852)."""
    return Normal(0.0, math.sqrt(2 / fans.inputs))


def he_outputs(fans: Fans) -> Initializer:
    """Normal, variance 2 / outputs (arXiv 1502.01852)."""
    return Normal(0.0, math.sqrt(2 / fans.outputs))


def uniform_inputs(fans: Fans) -> Initializer:
    """Uniform within 1 / sqrt(inputs): what PyTorch does for weights and biases."""
    reach = 1 / math.sqrt(fans.inputs)
    return Uniform(-reach, reach)


def small(fans: Fans) -> Initializer:
    """Normal, standard deviation 0.01."""
    return Normal(0.0, 0.01)


RULES = {
    "paddle": Rule("Paddle's initializers, which paddle.vision's networks use", None, None),
    "pytorch": Rule(
        "PyTorch's defaults: uniform within 1/sqrt(fan in), biases too",
        uniform_inputs,
        uniform_inputs,
        uniform_inputs,
        uniform_inputs,
    ),
    "he_fan_in": Rule(
        "He's normal over the fan in for convolutions and linear layers (arXiv 1512.03385, section 4.2)",
        he_inputs,
        he_inputs,
        linear_bias=uniform_inputs,
    ),
    "he_fan_out": Rule(
        "He's normal over the fan out for convolutions, PyTorch's default for the classifier (torchvision's ResNet)",
        he_outputs,
        uniform_inputs,
        linear_bias=uniform_inputs,
    ),
    "he_fan_out_small_head": Rule(
        "He's normal over the fan out for convolutions, N(0, 0.01) for linear layers (torchvision's VGG, MobileNet)",
        he_outputs,
        small,
    ),
}


def initialise(model: nn.Layer, backbone: str, init: Init = "reference") -> nn.Layer:
    """Draw the weights of a network anew, in place, by its backbone's rule; those of other libraries stay."""
    if init == "paddle" or is_external(backbone):
        return model
    rule = RULES[getattr(BACKBONES.get(backbone), "init", "paddle")]
    for layer in model.sublayers(include_self=True):
        if isinstance(layer, (nn.Conv1D, nn.Conv2D)):
            _draw(layer, rule.conv, rule.conv_bias)
        elif isinstance(layer, nn.Linear):
            _draw(layer, rule.linear, rule.linear_bias)
    return model


def _draw(layer: nn.Layer, weight: Start | None, bias: Start) -> None:
    if weight is None:
        return
    fans = Fans.of(layer)
    weight_attribute = layer._weight_attr if isinstance(layer, nn.Linear) else layer._param_attr
    if not _has_initializer(weight_attribute):
        weight(fans)(layer.weight)
    if layer.bias is not None and not _has_initializer(layer._bias_attr):
        bias(fans)(layer.bias)


def _has_initializer(attribute: object) -> bool:
    return isinstance(attribute, Initializer) or getattr(attribute, "initializer", None) is not None
