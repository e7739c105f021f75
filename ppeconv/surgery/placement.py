"""Putting recalibration blocks and heads into a network, at places it declares or that rules name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle
from paddle import Tensor, nn

from ppeconv import observe
from ppeconv.backbones.protocol import offers
from ppeconv.errors import UserError
from ppeconv.layers.handover import fit_in, hand_over_hooks
from ppeconv.layers.parameters import float_type, parameter_count
from ppeconv.layers.walk import Place, walk
from ppeconv.operators.octaveflow import passes_octaves
from ppeconv.recalibration.base import RecalibrationSlot
from ppeconv.registry import HEADS, RECALIBRATIONS, Choice
from ppeconv.schema import check
from ppeconv.surgery.images import usual_shape
from ppeconv.surgery.report import Report, Row, counted
from ppeconv.surgery.rules import Places, matches
from ppeconv.surgery.sites import CLOSED

_VERB = "put in {done} places"


def recalibrate(
    model: nn.Layer,
    name: str | Choice,
    rules: Places | Mapping[str, Any] | None = None,
    input_size: Sequence[int] | None = None,
    **own: Any,
) -> tuple[nn.Layer, Report]:
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
    if divided := [site.path for site in sites if passes_octaves(site.owner)]:
        raise UserError(
            f"{choice.name} weighs one tensor, and OctaveConv with rules.flow passes two resolutions through "
            f"{', '.join(divided)}; leave these out with rules.exclude, or put OctaveConv in without rules.flow"
        )
    wants_size = "size" in type(choice.own).model_fields
    to_measure = [site.layer for site in sites if wants_size or rules.after]
    shapes = _measured(model, to_measure, input_size) if to_measure else {}
    blocks = []
    for site in sites:
        if to_measure and id(site.layer) not in shapes:
            raise UserError(
                f"{site.path} does not run in {type(model).__name__}'s forward, so {choice.name} would do nothing "
                "there; leave it out with rules.exclude"
            )
        channels = shapes[id(site.layer)][1] if to_measure else site.layer.channels
        own = _sized(choice, site.path, shapes[id(site.layer)]) if wants_size else choice.own
        blocks.append((site, channels, choice.make.made(channels, own)))
    report = Report(choice.name, _VERB)
    before = counted(model, input_size)
    for site, channels, block in blocks:
        _put(site, block, behind=not isinstance(site.layer, RecalibrationSlot))
        report.rows.append(_row(site, channels, report.name, block))
    report.compare(before, counted(model, input_size))
    return model, report


def replace_pool(
    model: nn.Layer, name: str | Choice, input_size: Sequence[int] | None = None, **own: Any
) -> tuple[nn.Layer, Report]:
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
    sites = [site for site in _inner(model) if isinstance(site.layer, nn.AdaptiveAvgPool2D)]
    order = _measured(model, [site.layer for site in sites], input_size, inputs=True) if sites else {}
    if not order:
        raise UserError(
            f"{choice.name} stands in place of a global average pooling, and {type(model).__name__} runs no "
            "nn.AdaptiveAvgPool2D layer; give it one where it pools"
        )
    last = next(site for site in sites if id(site.layer) == list(order)[-1])
    shape = order[id(last.layer)]
    before = counted(model, input_size)
    head = choice.make.made(shape[1], _sized(choice, last.path, shape))
    _put(last, head)
    report = Report(choice.name, _VERB)
    report.rows.append(_row(last, shape[1], report.name, head))
    report.compare(before, counted(model, input_size))
    return model, report


def _row(place: Place, channels: int, name: str, new: nn.Layer) -> Row:
    return Row(place.path, f"{channels} channels", 0, name, parameter_count(new))


def _put(place: Place, new: nn.Layer, behind: bool = False) -> None:
    """A new layer in a place, or behind what stands there: in its mode and the number format of the network."""
    fit_in(new, place.layer.training, place.owner.parameters())
    if behind:
        new = nn.Sequential(place.layer, new)
        new.training = place.layer.training
    else:
        hand_over_hooks([place.layer], new)
    place.put(new)


def _inner(model: nn.Layer) -> list[Place]:
    """Every place but the network itself."""
    return list(walk(model, CLOSED))[1:]


def _sites(model: nn.Layer, after: Sequence[str] | None) -> list[Place]:
    if after is None:
        return [place for place in _inner(model) if isinstance(place.layer, RecalibrationSlot)]
    found: list[Place] = []
    for place in _inner(model):
        inside = found and place.path.startswith(f"{found[-1].path}.")
        if not inside and matches(place.path, after):
            found.append(place)
    return found


def _no_place(model: nn.Layer, name: str, rules: Places) -> str:
    kind = type(model).__name__
    if rules.after is not None:
        return f"rules.after {rules.after} names no layer of {kind}; {name} has no place then"
    if any(isinstance(place.layer, RecalibrationSlot) for place in _inner(model)):
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
    if input_size is None and offers(model).image_shape is None:
        raise UserError("the feature maps are measured with an image; give its input_size, such as [1, 3, 224, 224]")
    size = list(input_size)[-3:] if input_size else usual_shape(model)
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
