"""Putting recalibration blocks and heads into a network, at places it declares or that rules name."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import paddle
from paddle import Tensor, nn

from ppeconv import observe
from ppeconv.counting import count, float_type, parameter_count
from ppeconv.errors import UserError
from ppeconv.layers.handover import fit_in, hand_over_hooks
from ppeconv.operators.base import ConvOperator, image_channels
from ppeconv.recalibration.base import Recalibration, RecalibrationSlot
from ppeconv.registry import HEADS, RECALIBRATIONS, Choice
from ppeconv.schema import Section, check


class Places(Section):
    """Where recalibration blocks go. The default takes every place that the network declares."""

    include: list[str] = ["*"]
    """Shell patterns of layer paths; a place must match one."""
    exclude: list[str] = []
    """Shell patterns of layer paths at which nothing is put."""
    after: list[str] | None = None
    """Shell patterns of layer paths; blocks go behind these layers, instead of where the network declares it. The
    outermost layer that matches counts."""

    def names(self, path: str) -> bool:
        """Whether these rules let something be put at a path."""
        return any(fnmatch.fnmatch(path, pattern) for pattern in self.include) and not any(
            fnmatch.fnmatch(path, pattern) for pattern in self.exclude
        )


@dataclass
class PlacementReport:
    """What was put where."""

    name: str
    rows: list[tuple[str, int, int]] = field(default_factory=list)
    """Path, channels and trainable parameters of each block."""
    params: tuple[int, int] = (0, 0)
    """Trainable parameters of the network before and after."""
    macs: tuple[int, int] | None = None
    """MACs before and after, batch 1, when an input size was given."""

    def summary(self) -> str:
        """One line: how many there are and what that did to the counts."""
        text = f"{self.name}: put in {len(self.rows)} places, parameters {self.params[0]:,} -> {self.params[1]:,}"
        return text + (f", MACs {self.macs[0]:,} -> {self.macs[1]:,}" if self.macs else "")

    def __str__(self) -> str:
        width = max((len(path) for path, _, _ in self.rows), default=0)
        lines = [
            f"  {path:<{width}}  {channels} channels, parameters {params:,}" for path, channels, params in self.rows
        ]
        return "\n".join([self.summary(), *lines])


def recalibrate(
    model: nn.Layer,
    name: str | Choice,
    rules: Places | Mapping[str, Any] | None = None,
    input_size: Sequence[int] | None = None,
    **own: Any,
) -> tuple[nn.Layer, PlacementReport]:
    """Put a recalibration block into every block of a network, in place.

    Args:
        model: a network whose blocks declare a place with `RecalibrationSlot`, as those of ppeconv do, or any network
            with rules.after.
        name: a recalibration block, such as "SE", or what `RECALIBRATIONS.choose` gives for one.
        rules: which places; see `Places`.
        input_size: [N, C, H, W]; when given, the report holds MACs too. Not given, feature maps are measured with an
            image of the network's usual size.
        own: the block's arguments, such as reduction=8.

    Raises:
        UserError: there is no place for a block, or an argument is wrong. The network is then unchanged.
    """
    choice = RECALIBRATIONS.choose(name, own)
    rules = rules if isinstance(rules, Places) else check(Places, rules or {}, "rules")
    sites = [site for site in _sites(model, rules.after) if rules.names(site.path)]
    if not sites:
        raise UserError(_no_place(model, choice.name, rules))
    wants_size = "size" in type(choice.own).model_fields
    shapes = _measured(model, [site.layer for site in sites], input_size) if wants_size or rules.after else {}
    blocks = []
    for site in sites:
        shape = shapes.get(id(site.layer))
        channels = shape[1] if shape else site.layer.channels
        own = _sized(choice, site.path, shape) if wants_size else choice.own
        blocks.append((site, channels, choice.make.made(channels, own)))
    report = PlacementReport(choice.name)
    before = _counts(model, input_size)
    for site, channels, block in blocks:
        site.put(block, behind=not isinstance(site.layer, RecalibrationSlot))
        report.rows.append((site.path, channels, parameter_count(block)))
    return model, _completed(report, before, _counts(model, input_size))


def replace_pool(
    model: nn.Layer, name: str | Choice, input_size: Sequence[int] | None = None, **own: Any
) -> tuple[nn.Layer, PlacementReport]:
    """Put a head, such as "GDC", in place of a network's global average pooling, in place.

    Args:
        model: a network that pools with an `nn.AdaptiveAvgPool2D` layer; the last one that runs is replaced.
        name: a head, or what `HEADS.choose` gives for one.
        input_size: see `recalibrate`; the network is then bound to images of this size.
        own: the head's arguments.

    Raises:
        UserError: the network has no such pooling layer.
    """
    choice = HEADS.choose(name, own)
    sites = [site for site in _children(model) if isinstance(site.layer, nn.AdaptiveAvgPool2D)]
    order = _measured(model, [site.layer for site in sites], input_size, inputs=True) if sites else {}
    if not order:
        raise UserError(
            f"{choice.name} stands in place of a global average pooling, and {type(model).__name__} runs no "
            "nn.AdaptiveAvgPool2D layer; give it one where it pools"
        )
    last = next(site for site in sites if id(site.layer) == list(order)[-1])
    shape = order[id(last.layer)]
    before = _counts(model, input_size)
    head = choice.make.made(shape[1], _sized(choice, last.path, shape))
    last.put(head)
    report = PlacementReport(choice.name, [(last.path, shape[1], parameter_count(head))])
    return model, _completed(report, before, _counts(model, input_size))


@dataclass
class _Site:
    """A layer in its owner."""

    path: str
    owner: nn.Layer
    attribute: str
    layer: nn.Layer

    def put(self, new: nn.Layer, behind: bool = False) -> None:
        """A new layer in its place, or behind it: in its mode and the number format of the network."""
        fit_in(new, self.layer.training, self.owner.parameters())
        if behind:
            new = nn.Sequential(self.layer, new)
            new.training = self.layer.training
        else:
            hand_over_hooks([self.layer], new)
        self.owner._sub_layers[self.attribute] = new


def _children(layer: nn.Layer, path: str = "") -> Iterator[_Site]:
    """Every layer below one; the insides of operators and recalibration blocks are not entered."""
    for attribute, child in layer.named_children():
        below = f"{path}.{attribute}" if path else attribute
        yield _Site(below, layer, attribute, child)
        if not isinstance(child, (ConvOperator, Recalibration)):
            yield from _children(child, below)


def _sites(model: nn.Layer, after: Sequence[str] | None) -> list[_Site]:
    if after is None:
        return [site for site in _children(model) if isinstance(site.layer, RecalibrationSlot)]
    found: list[_Site] = []
    for site in _children(model):
        inside = found and site.path.startswith(f"{found[-1].path}.")
        if not inside and any(fnmatch.fnmatch(site.path, pattern) for pattern in after):
            found.append(site)
    return found


def _no_place(model: nn.Layer, name: str, rules: Places) -> str:
    kind = type(model).__name__
    if rules.after is not None:
        return f"rules.after {rules.after} names no layer of {kind}; {name} has no place then"
    if any(isinstance(site.layer, RecalibrationSlot) for site in _children(model)):
        return f"rules.include and rules.exclude leave {name} no place of those that {kind} declares"
    return (
        f"{kind} declares no place for {name}, or all are taken; name layers to put it behind with rules.after, such "
        "as after=['layer*.*.bn2']"
    )


def _sized(choice: Choice, path: str, shape: Sequence[int]) -> Any:
    """Own arguments with the size of the map."""
    measured, given = list(shape[2:]), choice.own.size
    if given is not None and list(given) != measured:
        raise UserError(
            f"{choice.name}.size is {given}, and the map at {path} is {measured}; leave it out, it is measured"
        )
    return choice.own.model_copy(update={"size": measured})


def _measured(
    model: nn.Layer, layers: Sequence[nn.Layer], input_size: Sequence[int] | None, inputs: bool = False
) -> dict[int, list[int]]:
    """The shapes that layers give (with `inputs`, that they get), by their ids and in the order in which they run."""
    usual = getattr(model, "image_shape", None)
    if input_size is None and usual is None:
        raise UserError("the feature maps are measured with an image; give its input_size, such as [1, 3, 224, 224]")
    size = list(input_size)[-3:] if input_size else [image_channels(model), *usual[1:]]
    shapes: dict[int, list[int]] = {}

    def look(layer: nn.Layer, given: Any, output: Any) -> None:
        value = given[0] if inputs else output
        if not isinstance(value, Tensor) or value.ndim != 4:
            raise UserError(f"a {type(layer).__name__} gives no tensor [N, C, H, W] here, and only such can be weighed")
        shapes[id(layer)] = list(value.shape)

    hooks = [layer.register_forward_post_hook(look) for layer in layers]
    try:
        with observe.evaluating(model), paddle.no_grad():
            model(paddle.zeros([1, *size], float_type(model)))
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def _counts(model: nn.Layer, input_size: Sequence[int] | None) -> tuple[int, int | None]:
    if input_size is None:
        return parameter_count(model), None
    counts = count(model, input_size)
    return counts.params, counts.macs


def _completed(
    report: PlacementReport, before: tuple[int, int | None], after: tuple[int, int | None]
) -> PlacementReport:
    report.params = before[0], after[0]
    report.macs = None if after[1] is None else (before[1], after[1])
    return report
