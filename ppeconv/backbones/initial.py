"""How the weights of a network start: one named rule for each network, from its paper or its reference code.

A backbone names its rule in the class attribute `init`. The rule holds for the whole network, the layers of operators
put into it among them. A layer that was made with an initializer of its own keeps what that gave.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from paddle import Tensor, nn
from paddle.nn.initializer import Constant, Initializer, Normal, TruncatedNormal, Uniform

from ppeconv.backbones.external import is_external
from ppeconv.backbones.protocol import offers
from ppeconv.errors import UserError
from ppeconv.registry import BACKBONES

Init = Literal["reference", "paddle"]
"""The rule of the network's paper or reference code, or Paddle's own initializers."""

CONVS = nn.Conv1D, nn.Conv2D


@dataclass(frozen=True)
class Fans:
    """Of one filter: the numbers that are summed into an output, and the numbers that an input is summed into.

    Counted as PyTorch does: the outputs of a grouped convolution are those of all groups.

    Args:
        inputs, outputs: these numbers.
        window: places of the kernel, 1 for a linear layer.
        groups: of a grouped convolution.
    """

    inputs: int
    outputs: int
    window: int = 1
    groups: int = 1

    @classmethod
    def of(cls, layer: nn.Layer) -> Fans:
        """Those of a convolution or a linear layer."""
        shape = layer.weight.shape
        if isinstance(layer, nn.Linear):
            return cls(*shape)
        window = math.prod(shape[2:])
        return cls(shape[1] * window, shape[0] * window, window, layer._groups)


class Truncated(Initializer):
    """Normal of a standard deviation, cut at two of them, where Paddle 3 cuts at 2 whatever the deviation.

    Args:
        deviation: the one before the cut, which leaves 0.88 of it.
    """

    def __init__(self, deviation: float):
        super().__init__()
        self.deviation = deviation

    def forward(self, var: Tensor, block: object = None) -> None:
        TruncatedNormal()(var)
        var.set_value(var.detach() * self.deviation)


Start = Callable[[Fans], Initializer]


def zero(fans: Fans) -> Initializer:
    """0."""
    return Constant(0.0)


def he_inputs(fans: Fans) -> Initializer:
    """Normal, variance 2 / inputs (arXiv 1502.01852)."""
    return Normal(0.0, math.sqrt(2 / fans.inputs))


def he_outputs(fans: Fans) -> Initializer:
    """Normal, variance 2 / outputs (arXiv 1502.01852)."""
    return Normal(0.0, math.sqrt(2 / fans.outputs))


def he_outputs_of_group(fans: Fans) -> Initializer:
    """Normal, variance 2 / outputs, of which only those of one group count."""
    return Normal(0.0, math.sqrt(2 * fans.groups / fans.outputs))


def he_inputs_truncated(fans: Fans) -> Initializer:
    """Normal cut at two standard deviations, variance 2 / inputs; 1.3 makes up for what the cut takes."""
    return Truncated(math.sqrt(1.3 * 2 / fans.inputs))


def uniform_inputs(fans: Fans) -> Initializer:
    """Uniform within 1 / sqrt(inputs): what PyTorch does for weights and biases."""
    return _uniform(1 / fans.inputs)


def uniform_outputs(fans: Fans) -> Initializer:
    """Uniform within 1 / sqrt(outputs)."""
    return _uniform(1 / fans.outputs)


def xavier_inputs(fans: Fans) -> Initializer:
    """Uniform, variance 1 / inputs: Caffe's Xavier."""
    return _uniform(3 / fans.inputs)


def glorot(fans: Fans) -> Initializer:
    """Uniform, variance 2 / (inputs + outputs)."""
    return _uniform(6 / (fans.inputs + fans.outputs))


def one_over_channels(fans: Fans) -> Initializer:
    """Normal, standard deviation 1 / (input channels of a group), whatever the kernel: 1 in a depthwise convolution."""
    return Normal(0.0, fans.window / fans.inputs)


def small(fans: Fans) -> Initializer:
    """Normal, standard deviation 0.01."""
    return Normal(0.0, 0.01)


def truncated(fans: Fans) -> Initializer:
    """Normal of standard deviation 0.09, cut at two of them: 0.079 is left."""
    return Truncated(0.09)


def _uniform(square: float) -> Initializer:
    reach = math.sqrt(square)
    return Uniform(-reach, reach)


@dataclass(frozen=True)
class Rule:
    """A network's start.

    Args:
        source: what the rule is, and whose.
        conv, linear: of their weights; None leaves Paddle's.
        conv_bias, linear_bias: of their biases.
        first: of the first convolution's weight, where it differs.
        head: of the weight of a classifier that is a convolution, where it differs.
    """

    source: str
    conv: Start | None
    linear: Start | None
    conv_bias: Start = zero
    linear_bias: Start = zero
    first: Start | None = None
    head: Start | None = None


RULES = {
    "paddle": Rule("Paddle's own initializers, as in paddle.vision (LeNet)", None, None),
    "pytorch": Rule(
        "PyTorch's defaults: uniform within 1/sqrt(fan in), biases too (the authors' GhostNet and LeNet-3C1L; "
        "MobileFaceNet in TreB1eN/InsightFace_Pytorch)",
        uniform_inputs,
        uniform_inputs,
        uniform_inputs,
        uniform_inputs,
    ),
    "he_fan_in": Rule(
        "He's normal over the fan in for convolutions and linear layers (arXiv 1512.03385, section 4.2; DPN: MXNet's "
        "training script, where the classifier's bias is 0, as its authors published none)",
        he_inputs,
        he_inputs,
        linear_bias=uniform_inputs,
    ),
    "he_fan_in_small_head": Rule(
        "He's normal over the fan in for convolutions, N(0, 0.01) for the classifier (SKNet's prototxt, which has "
        "N(0, 0.01) in the convolutions of the attention, too)",
        he_inputs,
        small,
    ),
    "he_fan_out": Rule(
        "He's normal over the fan out for convolutions, PyTorch's default for the classifier (torchvision's ResNet and "
        "ResNeXt; the authors' Res2Net; the authors' DenseNet, where the classifier's bias is 0)",
        he_outputs,
        uniform_inputs,
        linear_bias=uniform_inputs,
    ),
    "he_fan_out_small_head": Rule(
        "He's normal over the fan out for convolutions, N(0, 0.01) for linear layers (torchvision's VGG; the VGG of "
        "HetConv's authors for CIFAR)",
        he_outputs,
        small,
    ),
    "he_fan_out_of_group": Rule(
        "He's normal over the fan out of one group for convolutions, uniform within 1/sqrt(classes) for the classifier "
        "(the authors' EfficientNet and MixNet in tensorflow/tpu)",
        he_outputs_of_group,
        uniform_outputs,
    ),
    "he_truncated": Rule(
        "He's truncated normal over the fan in (TF-slim's Inception V2 and V3; slim gives V2's 1x1 reductions N(0, "
        "0.09) and projections N(0, 0.1), truncated)",
        he_inputs_truncated,
        he_inputs_truncated,
    ),
    "he_truncated_glorot_head": Rule(
        "He's truncated normal over the fan in for convolutions, Glorot's uniform for the classifier (TF-slim's "
        "Inception V4)",
        he_inputs_truncated,
        glorot,
    ),
    "glorot": Rule(
        "Glorot's uniform: the default of TF-slim (Inception-ResNet V2) and of Keras (Xception, by its author)",
        glorot,
        glorot,
    ),
    "truncated": Rule(
        "N(0, 0.09) cut at two standard deviations, for every layer (the authors' MobileNetV1, V2 and V3 in TF-slim)",
        truncated,
        truncated,
    ),
    "xavier_biased": Rule(
        "Caffe's Xavier, biases of convolutions 0.2 (BVLC's GoogLeNet; the paper does not say)",
        xavier_inputs,
        xavier_inputs,
        conv_bias=lambda fans: Constant(0.2),
    ),
    "xavier_small_head": Rule(
        "Caffe's Xavier, N(0, 0.01) for the classifier (the authors' SqueezeNet)",
        xavier_inputs,
        small,
        head=small,
    ),
    "one_over_channels": Rule(
        "N(0, 1 / input channels of a group) for convolutions, N(0, 0.01) for the first and for the classifier (the "
        "authors' ShuffleNetV1 and V2, where the shift of batch norms starts at 0.0001 instead of 0)",
        one_over_channels,
        small,
        first=small,
    ),
}


def initialise(model: nn.Layer, backbone: str, init: Init = "reference") -> nn.Layer:
    """Draw the weights of a network anew, in place, by its backbone's rule; those of other libraries stay."""
    if init not in get_args(Init):
        raise UserError(f"init is one of {', '.join(get_args(Init))}; got {init!r}")
    if init == "paddle" or is_external(backbone):
        return model
    kind = BACKBONES.get(backbone)
    rule = RULES[offers(kind).init]
    layers = model.sublayers(include_self=True)
    first = next((layer for layer in layers if isinstance(layer, CONVS)), None)
    head = getattr(model, offers(kind).head or "", None)
    for layer in layers:
        if isinstance(layer, CONVS):
            special = {id(first): rule.first, id(head): rule.head}.get(id(layer))
            _draw(layer, special or rule.conv, rule.conv_bias)
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
