"""Putting operators into a network in place of its convolutions: rules -> new layers -> report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paddle import nn

from ppeconv import observe
from ppeconv.counting import own_parameters, parameter_count
from ppeconv.errors import Unsupported, UserError
from ppeconv.geometry import ConvGeometry
from ppeconv.layers.folding import hooked
from ppeconv.layers.handover import fit_in, hand_over, hand_over_hooks, lost, refresh_weights
from ppeconv.layers.walk import exchange
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.conv2d import Conv2D
from ppeconv.operators.cost import Cost
from ppeconv.operators.octaveconv import OctaveConv
from ppeconv.registry import OPERATORS, Choice
from ppeconv.schema import check
from ppeconv.surgery.flow import Passage, octave_passage
from ppeconv.surgery.report import Report, Row, counted
from ppeconv.surgery.rules import Rules
from ppeconv.surgery.sites import CLOSED, Site, pairs, sites

_VERB = "{done} of {all} convolutions replaced"


def replace_conv(
    model: nn.Layer,
    operator: str | Choice,
    rules: Rules | Mapping[str, Any] | None = None,
    input_size: Sequence[int] | None = None,
    dry_run: bool = False,
    **own: Any,
) -> tuple[nn.Layer, Report]:
    """Replace convolutions of any network, in place, by an operator.

    Args:
        model: the network; its `nn.Conv2D` layers are candidates. Subclasses of `nn.Conv2D` and the insides of
            operators stay as they are.
        operator: a name from `list_operators()`, or what `OPERATORS.choose` gives for one.
        rules: which convolutions; see `Rules`. The operator's own default when not given.
        input_size: [N, C, H, W]; when given, the report holds MACs too.
        dry_run: only report.
        own: the operator's arguments, such as ratio=0.5.

    The weights are carried over into Conv2D and OctaveConv (all of them), GroupConv and HetConv (those that they
    keep); every other operator begins with new ones, and the report says which. Operators are in the mode of what they
    replace, in its number format, and as frozen; their parameters have its learning rate factor, regulariser and
    clipping, its hooks run around them. The report remarks on what cannot be taken over, such as weight norm, and on
    layers where the operator saves neither parameters nor MACs.

    Returns:
        The network (a new layer where `model` is itself a convolution) and the report.

    Raises:
        UserError: nothing could be replaced, or an argument is wrong. The network is then unchanged.
    """
    choice = OPERATORS.choose(operator, own)
    make = choice.make
    rules = _rules(make, rules)
    report = Report(choice.name, _VERB)
    passage = _passage(model, choice, rules)
    chosen = _choose(model, choice, rules, passage, report)
    if not chosen:
        raise UserError(_nothing_replaced(model, report, rules))
    before = counted(model, input_size)
    substitutes = {}
    for row, site in chosen:
        new = make.made(site.geometry, site.own)
        hand_over(site.layers, new)
        row.after = f"{report.name} {make.describe(site.geometry, site.own)}"
        row.params_after = parameter_count(new)
        row.inherited = len(site.layers) == 1 and _inherits(new, site.layers[0])
        for what in _remarks(make, site, row.inherited):
            report.remark(what, row.path)
        substitutes.update({id(layer): _nothing(layer) for layer in site.succession})
        substitutes[id(site.layers[-1])] = new
    if dry_run:
        saved = sum(row.params_before - row.params_after for row, _ in chosen)
        report.compare((before[0], None), (before[0] - saved, None))
        return model, report
    for _, site in chosen:
        hand_over_hooks(site.succession, substitutes[id(site.layers[-1])])
    model = exchange(model, substitutes, CLOSED)
    passage.settle()
    report.compare(before, counted(model, input_size))
    return model, report


@dataclass(frozen=True)
class Coverage:
    """How far an operator applies to a network."""

    replaced: int
    total: int
    reason: str
    """What most often keeps a convolution as it is."""

    def __str__(self) -> str:
        return f"{self.replaced} of {self.total}" if self.replaced else f"no: {self.reason}"


def coverage(model: nn.Layer, operator: str, rules: Rules | Mapping[str, Any] | None = None, **own: Any) -> Coverage:
    """How many convolutions `replace_conv` would replace, without building anything."""
    choice = OPERATORS.choose(operator, own)
    report = Report(choice.name, _VERB)
    rules = _rules(choice.make, rules)
    chosen = _choose(model, choice, rules, _passage(model, choice, rules), report)
    return Coverage(len(chosen), len(report.rows), _commonest([row.reason for row in report.skipped if row.reason]))


def _commonest(reasons: Sequence[str]) -> str:
    return max(sorted(set(reasons)), key=reasons.count) if reasons else "it has none"


def _rules(make: type[ConvOperator], rules: Rules | Mapping[str, Any] | None) -> Rules:
    return rules if isinstance(rules, Rules) else check(Rules, make.default_rules if rules is None else rules, "rules")


def _passage(model: nn.Layer, choice: Choice, rules: Rules) -> Passage:
    """The way of the two resolutions of an octave convolution; an empty one without rules.flow."""
    if not rules.flow:
        return Passage()
    if choice.make is not OctaveConv:
        raise UserError(f"rules.flow is for OctaveConv; {choice.name} takes and gives one tensor")
    if {"alpha_in", "alpha_out", "two_tensor"} & choice.own.model_fields_set:
        raise UserError("with rules.flow the shares of every layer follow from alpha; leave the other arguments out")
    return octave_passage(model, choice.own.alpha)


def _choose(
    model: nn.Layer,
    choice: Choice,
    rules: Rules,
    passage: Passage,
    report: Report,
) -> list[tuple[Row, Site]]:
    """The sites that are replaced; every convolution of the network gets its row in the report."""
    chosen, first = [], True
    for site in sites(model, rules.pairs):
        shares = passage.convolutions.get(id(site.layers[0]), {})
        site.own, site.passed = choice.own.model_copy(update=shares) if shares else choice.own, bool(shares)
        row = Row(site.path, str(site.geometry), sum(parameter_count(layer) for layer in site.layers))
        report.rows.append(row)
        row.reason = _reason(site, choice.make, rules, first)
        if row.reason and site.passed:
            raise UserError(f"the octaves cannot flow through {site.path}: {row.reason}")
        first = False
        if id(site.layers[0]) in passage.pooled:
            row.reason = "its input has one resolution, which is pooled to half instead of the stride"
        if not row.reason:
            chosen.append((row, site))
    return chosen


def _reason(site: Site, make: type[ConvOperator], rules: Rules, first: bool) -> str:
    if type(site.layers[-1]) is not nn.Conv2D:
        return f"a {type(site.layers[-1]).__name__}, whose own forward would be lost"
    if rules.pairs and len(site.layers) == 1:
        return "not a depthwise convolution followed by a 1x1, and rules.pairs replaces only these"
    if rules.flow and not site.passed:
        return "outside the residual blocks that the octaves pass"
    reason = None if rules.flow else rules.reason_to_keep(site.path, site.geometry, first)
    if reason:
        return reason
    return _refusal(make, site.geometry, site.own)


def _nothing(layer: nn.Layer) -> nn.Identity:
    """What stands where a layer was."""
    identity = nn.Identity()
    fit_in(identity, layer.training, [])
    return identity


def _inherits(operator: ConvOperator, conv: nn.Conv2D) -> bool:
    """Whether the operator could take over the weights of the convolution, and now has them."""
    with observe.evaluating(conv):
        refresh_weights(conv)
    return operator.inherit(conv)


def _remarks(make: type[ConvOperator], site: Site, inherited: bool) -> Iterator[str]:
    """What the user should know of one replacement."""
    yield from lost(site.succession)
    parameters = [p for conv in site.layers for p in own_parameters(conv).values()]
    if not inherited and all(parameter.stop_gradient for parameter in parameters):
        yield "frozen as before, although the weights are new: let them be trained (stop_gradient = False)"
    if site.passed and any(hooked(layer) for layer in site.succession):
        yield "hooks get both resolutions here"
    yield from _nothing_saved(make, site)


_LARGE_MAP = 64
"""Side of a feature map beside which kernels are small: the ratio of MACs depends little on it."""


def _nothing_saved(make: type[ConvOperator], site: Site) -> Iterator[str]:
    """A remark where the operator has neither fewer parameters nor fewer MACs than what it replaces."""
    plain = site.plain_cost(_LARGE_MAP, _LARGE_MAP)

    def cost(own: Any) -> Cost:
        return make.cost(site.geometry, _LARGE_MAP, _LARGE_MAP, own)

    ours = cost(site.own)
    if make is Conv2D or ours.params < plain.params or ours.macs < plain.macs:
        return
    lighter = (
        f"{name}={value}"
        for name, values in make.lighter.items()
        for value in values
        if not _refusal(make, site.geometry, other := site.own.model_copy(update={name: value}))
        and cost(other) != plain
        and all(less <= more for less, more in zip(cost(other), plain, strict=True))
    )
    advice = next(lighter, None)
    yield f"saves neither parameters nor MACs{f'; {advice} would' if advice else ''}"


def _refusal(make: type[ConvOperator], geometry: ConvGeometry, own: Any) -> str:
    """Why the operator cannot stand in for such a convolution; empty where it can."""
    try:
        make.check(geometry, own)
    except Unsupported as refusal:
        return str(refusal)
    return ""


def _nothing_replaced(model: nn.Layer, report: Report, rules: Rules) -> str:
    common = _commonest([row.reason for row in report.rows])
    others = [name for name in OPERATORS.names() if name not in (report.name, "Conv2D")]
    others = [name for name in others if coverage(model, name).replaced]
    hints = [f"operators that apply by their own rules: {', '.join(others)}"] if others else []
    if not rules.pairs and (found := pairs(model)):
        hints.append(
            f"rules.pairs=true replaces its {len(found)} pairs of a depthwise convolution and the 1x1 after it"
        )
    return (
        f"{report.name} replaces none of the {len(report.rows)} convolutions of {type(model).__name__} "
        f"(mostly: {common}); " + "; ".join(hints or ["change the rules or the operator"])
    )
