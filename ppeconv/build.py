"""From names to networks: a backbone, and operators put into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paddle import nn

from ppeconv.anywidth import make_anywidth
from ppeconv.backbones.external import create_external, is_external
from ppeconv.features import FeatureMaps
from ppeconv.registry import BACKBONES, OPERATORS
from ppeconv.replace import Rules, replace_conv


def create_operator(
    name: str,
    in_channels: int,
    out_channels: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[Any] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias_attr: Any = None,
    **own: Any,
) -> nn.Layer:
    """One operator layer, called like `nn.Conv2D`, with the operator's own arguments behind.

    Raises:
        UserError: an unknown name or argument, or a convolution the operator has no definition for.
    """
    OPERATORS.check(name, own)
    return OPERATORS.get(name)(
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias_attr, **own
    )


def create_backbone(name: str, **arguments: Any) -> nn.Layer:
    """A plain network: one of `list_backbones()`, `paddle.vision.<name>` or `paddleclas.<name>`."""
    return create_external(name, **arguments) if is_external(name) else BACKBONES.create(name, **arguments)


def create_model(
    name: str,
    *,
    operator: str | None = None,
    operator_args: Mapping[str, Any] | None = None,
    rules: Rules | Mapping[str, Any] | None = None,
    anywidth: Mapping[str, Any] | None = None,
    features: bool = False,
    **arguments: Any,
) -> nn.Layer:
    """A network by name, with its convolutions replaced by an operator when one is named.

    Args:
        name: see `create_backbone`.
        operator: one of `list_operators()`.
        operator_args: the operator's own arguments.
        rules: which convolutions are replaced; see `ppeconv.replace.Rules`.
        anywidth: make it run at any width; arguments of `ppeconv.anywidth.make_anywidth`, such as {"kind": "awn"},
            which goes with width=2**0.5: that keeps the weights in use level.
        features: give a list of feature maps, one for each stage, instead of class scores; see `FeatureMaps`.
        arguments: the backbone's, such as class_num=10.
    """
    model = create_backbone(name, **arguments)
    if operator:
        model, _ = replace_conv(model, operator, rules, **(operator_args or {}))
    if anywidth is not None:
        make_anywidth(model, **anywidth)
    return FeatureMaps(model) if features else model


def list_operators(pattern: str = "*") -> dict[str, str]:
    """Names of the operators that match a shell pattern, each with a line on what it is."""
    return OPERATORS.summaries(pattern)


def list_backbones(pattern: str = "*") -> dict[str, str]:
    """Names of the backbones that match a shell pattern, each with a line on what it is."""
    return BACKBONES.summaries(pattern)
