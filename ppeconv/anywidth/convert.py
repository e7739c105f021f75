"""Turning a network into one that runs at any width."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from paddle import nn

from ppeconv.anywidth.channels import Layout
from ppeconv.anywidth.groups import ChannelGroups, follow, is_depthwise
from ppeconv.anywidth.layers import (
    AnyWidthConv2D,
    AnyWidthLayer,
    AnyWidthLinear,
    TriangularConv2D,
    TriangularLinear,
    refuse,
)
from ppeconv.anywidth.norms import CalibratedBatchNorm, PrivateBatchNorm, SharedBatchNorm
from ppeconv.anywidth.shortcut import AnyWidthShortcut
from ppeconv.anywidth.trace import Tracer, brief
from ppeconv.anywidth.width import Facts, any_width_layers, set_width
from ppeconv.backbones.protocol import offers
from ppeconv.errors import UserError, nearest
from ppeconv.layers.handover import fit_in, hand_over_hooks, makes_weights
from ppeconv.layers.shortcut import ShortcutA
from ppeconv.layers.walk import exchange

_NORMS = (nn.BatchNorm1D, nn.BatchNorm2D)


def make_anywidth(
    model: nn.Layer,
    kind: Literal["awn", "snet", "usnet"] = "awn",
    widths: Sequence[float] | None = None,
    min_width: float = 0.25,
    divisor: int = 1,
    whole: Sequence[str] | None = None,
    input_size: Sequence[int] | None = None,
) -> nn.Layer:
    """Convert a network in place into one that runs at any width in (0, 1], keeping its weights.

    Args:
        model: any network of convolutions (dense or depthwise), linear layers and batch norms. Layers whose channels
            are added together are narrowed together; concatenations, flattening and shuffles are followed.
        kind: "awn" has triangular layers and one batch norm for all widths (weights above the diagonal become zero),
            "snet" a batch norm for each of `widths`, "usnet" one whose statistics `calibrate` measures.
        widths: those trained by k-width training, and for "snet" those with a norm; (1, 0.75, 0.5, 0.25) if not given.
        min_width: narrowest width of training and evaluation; narrower ones run too.
        divisor: a narrowed number of channels is a multiple of it; 1 rounds as Python does, 8 as the slimmable nets.
        whole: shell patterns of paths of layers whose outputs are never cut. When not given, what the backbone says
            (MobileNetV2: its last convolution), and nothing for "awn", whose norm cannot serve such a layer.
        input_size: [N, C, H, W] of an example; found by trial when not given.

    Returns:
        The same network, with `model.at_width(w)`; see also `set_width`.

    Raises:
        UserError: a layer cannot be cut, or its channels cannot be followed. The network is then unchanged.

    Sources: AWN arXiv 2012.03153, S-Net arXiv 1812.08928, US-Net arXiv 1903.05134.
    """
    facts = Facts(kind, tuple(sorted(widths or (0.25, 0.5, 0.75, 1.0), reverse=True)), min_width)
    facts.check()
    names = _layers_to_convert(model)
    for pattern in whole or ():
        if not fnmatch.filter(names.values(), pattern):
            raise UserError(f"whole names {pattern!r}, and no layer is called so{nearest(pattern, names.values())}")
    if whole is None:
        whole = () if kind == "awn" else offers(model).whole_outputs
    size, found, outputs = follow(model, names, input_size)
    found.settle(outputs, divisor, whole)
    substitutes = {id(layer): _converted(layer, names[layer], facts, found) for layer in names}
    for layer in names:
        fit_in(substitutes[id(layer)], layer.training, layer.parameters())
    exchange(model, substitutes)
    try:
        for width in sorted({min_width, 0.37, 0.5}):
            _verify(model, found, width, size)
    except UserError:
        exchange(model, {id(substitutes[id(layer)]): layer for layer in names})
        raise
    for layer in names:
        hand_over_hooks([layer], substitutes[id(layer)])
    for layer in any_width_layers(model):
        layer.settle()
    model.anywidth, model.at_width = facts, partial(set_width, model)
    set_width(model, 1.0)
    return model


def _layers_to_convert(model: nn.Layer) -> dict[nn.Layer, str]:
    """The layers with channels, each with its path; a UserError for one that cannot be cut."""
    if any(True for _ in any_width_layers(model)):
        raise UserError("this network runs at any width already; convert a network once")
    names: dict[nn.Layer, str] = {}
    for path, layer in model.named_sublayers():
        if type(layer) in (nn.Conv2D, nn.Linear, *_NORMS, ShortcutA):
            names.setdefault(layer, path)
            reason = None
            if isinstance(layer, nn.Conv2D):
                reason = refuse(layer._groups, layer._in_channels, layer._padding_mode, layer._data_format)
            if makes_weights(layer):
                reason = "has weight norm or another hook that makes its weights; take that off first"
            if reason:
                raise UserError(f"{path} cannot run at any width: it {reason}")
        elif any(value is not None and np.prod(value.shape) > 1 for value in layer._parameters.values()):
            raise UserError(
                f"{path} is a {type(layer).__name__} with parameters of its own; any-width networks are made of "
                "Conv2D, Linear, BatchNorm1D and BatchNorm2D"
            )
    if not any(isinstance(layer, (nn.Conv2D, nn.Linear)) for layer in names):
        raise UserError(f"{type(model).__name__} has no Conv2D and no Linear below it, so there is nothing to narrow")
    return names


def _converted(layer: nn.Layer, path: str, facts: Facts, found: ChannelGroups) -> AnyWidthLayer:
    """The layer that takes the place of `layer`."""
    inputs, outputs = found.layout(found.reads[layer]), found.layout(found.writes[layer])
    triangular = facts.kind == "awn" and not outputs.whole and not inputs.whole
    if isinstance(layer, nn.Conv2D):
        cls = TriangularConv2D if triangular and not is_depthwise(layer) else AnyWidthConv2D
        return cls.like(layer, inputs, outputs)
    if isinstance(layer, nn.Linear):
        return (TriangularLinear if triangular else AnyWidthLinear).like(layer, inputs, outputs)
    if isinstance(layer, ShortcutA):
        return AnyWidthShortcut(layer.stride, inputs, outputs, spread=facts.kind == "awn")
    if facts.kind == "snet":
        return PrivateBatchNorm(layer, inputs, facts.widths)
    if facts.kind == "usnet":
        return CalibratedBatchNorm(layer, inputs)
    if inputs.whole:
        raise UserError(
            f"{path} would normalise channels that are always whole, whose statistics depend on the width; with "
            "kind awn leave the layer before it out of `whole`"
        )
    return SharedBatchNorm(layer, inputs)


def _verify(model: nn.Layer, found: ChannelGroups, width: float, size: Sequence[int]) -> None:
    """Trace the converted network at a width: every layer must get the channels that it is cut for."""
    ends = np.cumsum([group.total for group in found.groups]).tolist()
    starts = dict(zip(found.groups, [0, *ends[:-1]], strict=True))
    paths = {id(layer): path for path, layer in model.named_sublayers()}
    names = {layer: paths[id(layer)] for layer in any_width_layers(model)}

    def numbers(layout: Layout) -> np.ndarray:
        offsets = np.array([starts[group] for group in layout.groups])
        return (offsets[layout.group] + layout.index)[layout.is_active(width)]

    def handle(layer: AnyWidthLayer, given: np.ndarray) -> np.ndarray:
        expected = numbers(layer.inputs)
        if len(given) != len(expected) or (given != expected).any():
            raise UserError(
                f"at width {width:g} {names[layer]} gets other channels than those it is cut for; before it the "
                "network's forward picks or orders channels by fixed numbers"
            )
        return numbers(layer.outputs)

    def meet(left: np.ndarray, right: np.ndarray, where: str) -> None:
        if (left != right).any():
            raise UserError(f"at width {width:g} different channels meet in {where}, so it cannot be narrowed")

    set_width(model, width)
    tracer = Tracer(model, names, handle, meet, ends[-1])
    try:
        tracer.run(numbers(found.layout(found.image)), [1, *size[1:]])
    except UserError:
        raise
    except Exception as error:  # whatever the user's forward raises for fewer channels
        raise UserError(
            f"{tracer.where} does not run at width {width:g} ({brief(error)}); its forward "
            "seems to hold numbers of channels"
        ) from None
