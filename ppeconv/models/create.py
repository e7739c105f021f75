"""From names to networks: a backbone, and operators put into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from paddle import nn

from ppeconv.anywidth import make_anywidth
from ppeconv.backbones.external import PADDLE_VISION, create_external, is_external
from ppeconv.backbones.initial import Init, initialise
from ppeconv.branches.change import change_branches
from ppeconv.engine.log import logger
from ppeconv.engine.weights import load_weights
from ppeconv.errors import UserError
from ppeconv.pretrained.network import Network
from ppeconv.pretrained.weights import ANY, Weights, named, trained_in
from ppeconv.registry import BACKBONES, BRANCHES, OPERATORS, RECALIBRATIONS, Choice, placed
from ppeconv.surgery.features import FeatureMaps
from ppeconv.surgery.placement import recalibrate, replace_pool
from ppeconv.surgery.replace import replace_conv
from ppeconv.surgery.report import Report
from ppeconv.surgery.rules import Places, Rules
from ppeconv.surgery.warm_start import Images


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
    return OPERATORS.get(name)(
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias_attr, **own
    )


def create_backbone(name: str, *, init: Init = "reference", **arguments: Any) -> nn.Layer:
    """A plain network: one of `list_backbones()`, `paddle.vision.<name>` or `paddleclas.<name>`.

    Args:
        name: its name.
        init: how its weights start: "reference" by the rule of its paper or reference code (see
            `ppeconv.backbones.initial`), "paddle" by Paddle's initializers. Networks of other libraries start as these
            do.
        arguments: the backbone's, such as class_num=10.
    """
    _require_name(name)
    try:
        model = create_external(name, **arguments) if is_external(name) else BACKBONES.create(name, **arguments)
    except (ValueError, ArithmeticError, AssertionError) as error:  # what the layers of Paddle 3 and 2.6 raise
        given = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise UserError(f"{name} cannot be built with {given}: a layer is left without channels ({error})") from None
    return initialise(model, name, init)


def apply_operator(
    model: nn.Layer,
    name: str | Choice,
    rules: Any = None,
    input_size: Sequence[int] | None = None,
    images: Images | None = None,
    **own: Any,
) -> tuple[nn.Layer, Report]:
    """Put an operator, a recalibration block or a head into a network, or change its branches, in place.

    `rules` are `Rules` for an operator, `Places` for a block and `Blocks` for a change of branches, or a mapping of
    what these hold. With `images` an operator starts from the trained convolutions that it replaces: `replace_conv`.
    """
    choice = name if isinstance(name, Choice) else placed(name).choose(name, own)
    if choice.kind is OPERATORS:
        init: Literal["from_dense"] | None = None if images is None else "from_dense"
        return replace_conv(model, choice, rules, input_size, init=init, images=images)
    if choice.kind is RECALIBRATIONS:
        return recalibrate(model, choice, rules, input_size)
    if choice.kind is BRANCHES:
        return change_branches(model, choice, rules, input_size)
    if rules:
        raise UserError(f"{choice.name} stands in place of the global pooling; it takes no rules")
    return replace_pool(model, choice, input_size)


def create_model(
    name: str,
    *,
    operator: str | None = None,
    operator_args: Mapping[str, Any] | None = None,
    rules: Rules | Places | Mapping[str, Any] | None = None,
    input_size: Sequence[int] | None = None,
    anywidth: Mapping[str, Any] | None = None,
    features: bool = False,
    init: Init = "reference",
    pretrained: bool | str = False,
    **arguments: Any,
) -> nn.Layer:
    """A network by name, with an operator, a recalibration block or a head put into it when one is named.

    Args:
        name: see `create_backbone`.
        operator: one of `list_operators()`, or a recalibration block or head such as "SE".
        operator_args: its own arguments.
        rules: which convolutions are replaced, see `Rules`; for a recalibration block where it goes, see `Places`.
        input_size: [N, C, H, W] of the images, for what depends on their size (GE, GDC); the backbone's usual size when
            not given.
        anywidth: make it run at any width; arguments of `ppeconv.anywidth.make_anywidth`, such as {"kind": "awn"},
            which goes with width=2**0.5: that keeps the weights in use level.
        features: give a list of feature maps, one for each stage, instead of class scores; see `FeatureMaps`.
        init: how the weights start, those of the operator among them; see `create_backbone`.
        pretrained: True for the weights that come with ppeconv for this very network, or the name of one of
            `list_pretrained()`. With another class_num than theirs the last layer stays as initialised. A network of
            another library takes it as this does.
        arguments: the backbone's, such as class_num=10.

    Raises:
        UserError: a name or an argument is none, or no weights of this network come with ppeconv.
    """
    if not operator and (operator_args or rules):
        raise UserError(f"{name} gets operator_args or rules and no operator; name one as operator")
    _require_name(name)
    _require_known(pretrained, name)
    weights = None
    if pretrained and is_external(name):
        arguments["pretrained"] = pretrained
    elif pretrained:
        placed_operators = [(operator, operator_args or {}, rules)] if operator else []
        weights = _weights(pretrained, Network(name, arguments, placed_operators, anywidth))
        arguments.setdefault("class_num", len(weights.class_names))
    model = create_backbone(name, init="paddle", **arguments)
    if operator:
        model, _ = apply_operator(model, operator, rules, input_size, **(operator_args or {}))
    initialise(model, name, init)
    if anywidth is not None:
        make_anywidth(model, **anywidth)
    if weights:
        complete = arguments["class_num"] == len(weights.class_names)
        logger.info(load_weights(model, weights, complete))
    return FeatureMaps(model) if features else model


def _require_name(name: object) -> None:
    if not isinstance(name, str):
        raise UserError(f"a network is named by a text, such as 'ResNet20'; got {name!r}")


def _require_known(pretrained: object, name: str) -> None:
    """Raise a UserError where `pretrained` of the network of that name is none of what it may be."""
    files = name.startswith(PADDLE_VISION)  # which takes every text for True
    if isinstance(pretrained, bool) or (isinstance(pretrained, str) and pretrained and not files):
        return
    names = "; weights of a file are put in with set_state_dict" if files else ", or the name of weights"
    raise UserError(f"pretrained of {name} should be True or False{names}; got {pretrained!r}")


def _weights(pretrained: bool | str, network: Network) -> Weights:
    if not isinstance(pretrained, str) or pretrained == ANY:
        return trained_in(network)
    weights = named(pretrained)
    if not weights.network.same_as(network):
        raise UserError(f"the weights {weights.name} are of {weights.network}; got {network}")
    return weights


def list_operators(pattern: str = "*") -> dict[str, str]:
    """Names of the operators that match a shell pattern, each with a line on what it is."""
    return OPERATORS.summaries(pattern)


def list_backbones(pattern: str = "*") -> dict[str, str]:
    """Names of the backbones that match a shell pattern, each with a line on what it is."""
    return BACKBONES.summaries(pattern)
