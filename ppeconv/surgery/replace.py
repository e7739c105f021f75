"""Putting operators into a network in place of its convolutions: rules -> new layers -> report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from paddle import nn

from ppeconv import observe
from ppeconv.errors import UserError
from ppeconv.layers.handover import hand_over, hand_over_hooks, identity_like, refresh_weights
from ppeconv.layers.parameters import parameter_count
from ppeconv.layers.walk import exchange
from ppeconv.operators.base import ConvOperator
from ppeconv.registry import OPERATORS, Choice
from ppeconv.schema import check
from ppeconv.surgery.remarks import refusal, remarks
from ppeconv.surgery.report import Report, Row, counted
from ppeconv.surgery.rules import Rules
from ppeconv.surgery.sites import CLOSED, Site, pairs, sites
from ppeconv.surgery.warm_start import Images, warm_start


def replace_conv(
    model: nn.Layer,
    operator: str | Choice,
    rules: Rules | Mapping[str, Any] | None = None,
    input_size: Sequence[int] | None = None,
    dry_run: bool = False,
    init: Literal["from_dense"] | None = None,
    images: Images | None = None,
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
        init: "from_dense" fits each new layer to what the convolution it replaces gives, see `warm_start`, and measures
            the statistics of the batch norms behind anew; without it new weights start at random.
        images: what it is fitted on: some hundred images of the training set, transformed as in evaluation,
            [N, C, H, W] or batches of such.
        own: the operator's arguments, such as ratio=0.5.

    The weights are carried over into Conv2D and OctaveConv (all of them), GroupConv and HetConv (those that they
    keep); every other operator begins with new ones, and the report says which. With "from_dense" all are fitted where
    what is carried over does not give the same already, and the report has the relative error of each. Operators are in
    the mode of what they replace, in its number format, and as frozen; their parameters have its learning rate factor,
    regulariser and clipping, its hooks run around them. The report remarks on what cannot be taken over, such as weight
    norm, and on layers where the operator saves neither parameters nor MACs.

    Returns:
        The network (a new layer where `model` is itself a convolution) and the report.

    Raises:
        UserError: nothing could be replaced, or an argument is wrong. The network is then unchanged.
    """
    plan = _Plan(model, OPERATORS.choose(operator, own), rules)
    make, report = plan.choice.make, plan.report
    warm = _is_warm(init, images, plan)
    if not plan.chosen:
        raise UserError(_nothing_replaced(model, plan))
    before = counted(model, input_size)
    new: dict[int, nn.Layer] = {}
    for row, site in plan.chosen:
        layer, row.inherited = made_for(site, make)
        row.after = f"{report.name} {make.describe(site.geometry, site.own)}"
        row.params_after = parameter_count(layer)
        for what in remarks(make, site, row.inherited or warm, plan.passage):
            report.remark(what, row.path)
        new |= {id(old): identity_like(old) for old in site.succession} | {id(site.layers[-1]): layer}
    if dry_run:
        added = sum(parameter_count(new[id(site.layers[-1])]) - row.params_before for row, site in plan.chosen)
        report.compare((before[0], None), (before[0] + added, None))
        return model, report
    if warm:
        fits = warm_start(model, [(site, new[id(site.layers[-1])]) for _, site in plan.chosen], images)
        for (row, _), found in zip(plan.chosen, fits, strict=True):
            row.fit = found
    for _, site in plan.chosen:
        hand_over_hooks(site.succession, new[id(site.layers[-1])])
    model = exchange(model, new, CLOSED)
    if plan.passage:
        plan.passage.settle()
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
    plan = _Plan(model, OPERATORS.choose(operator, own), rules)
    return Coverage(len(plan.chosen), len(plan.report.rows), _commonest(plan.report.skipped))


class _Plan:
    """What is going to be replaced: a row in the report for every convolution, and a site for those chosen."""

    def __init__(self, model: nn.Layer, choice: Choice, rules: Rules | Mapping[str, Any] | None):
        self.choice, self.report = choice, Report(choice.name, "{done} of {all} convolutions replaced")
        given = choice.make.default_rules if rules is None else rules
        self.rules = given if isinstance(given, Rules) else check(Rules, given, "rules")
        self.passage = choice.make.passage(model, choice.own) if self.rules.flow else None
        self.chosen: list[tuple[Row, Site]] = []
        for number, site in enumerate(sites(model, self.rules.pairs)):
            row = Row(site.path, str(site.geometry), sum(parameter_count(layer) for layer in site.layers))
            row.reason = self._reason_to_keep(site, first=number == 0)
            self.report.rows.append(row)
            if not row.reason:
                self.chosen.append((row, site))

    def _reason_to_keep(self, site: Site, first: bool) -> str:
        """Why a convolution stays, empty where the operator takes its place; gives the site its own arguments."""
        conv, reason, site.own = site.layers[0], "", self.choice.own
        if type(site.layers[-1]) is not nn.Conv2D:
            reason = f"a {type(site.layers[-1]).__name__}, whose own forward would be lost"
        elif self.rules.pairs and len(site.layers) == 1:
            reason = "not a depthwise convolution followed by a 1x1, and rules.pairs replaces only these"
        if self.passage is None:
            reason = reason or self.rules.reason_to_keep(site.path, site.geometry, first)
            return reason or refusal(self.choice.make, site.geometry, site.own)
        if id(conv) not in self.passage.arguments:
            return reason or self.passage.outside
        site.own = site.own.model_copy(update=self.passage.arguments[id(conv)])
        if reason := reason or refusal(self.choice.make, site.geometry, site.own):
            raise UserError(f"{self.choice.name} cannot flow through {site.path}: {reason}")
        return self.passage.kept.get(id(conv), "")


def _is_warm(init: str | None, images: Images | None, plan: _Plan) -> bool:
    """Whether layers are to be fitted; a UserError where that cannot be."""
    if init not in (None, "from_dense"):
        raise UserError(f"init should be 'from_dense', or left out; got {init!r}")
    if init is None and images is not None:
        raise UserError("images are what init='from_dense' fits the new layers on; give both or none")
    if init and images is None:
        raise UserError("init='from_dense' fits the new layers on images; give some hundred of the training set")
    if init and plan.passage:
        raise UserError(
            f"with rules.flow {plan.choice.name} carries all weights over; leave init='from_dense' out, which fits "
            "layers that take and give one tensor"
        )
    return init is not None


def _commonest(rows: Sequence[Row]) -> str:
    reasons = [row.reason for row in rows if row.reason]
    return max(sorted(set(reasons)), key=reasons.count) if reasons else "it has none"


def made_for(site: Site, make: type[ConvOperator]) -> tuple[ConvOperator, bool]:
    """The operator for a site, with the site's own arguments, and whether it has taken over the weights there."""
    layer = make.made(site.geometry, site.own)
    hand_over(site.layers, layer)
    return layer, len(site.layers) == 1 and _inherits(layer, site.layers[0])


def _inherits(operator: ConvOperator, conv: nn.Conv2D) -> bool:
    """Whether the operator could take over the weights of the convolution, and now has them."""
    with observe.evaluating(conv):
        refresh_weights(conv)
    return operator.inherit(conv)


def _nothing_replaced(model: nn.Layer, plan: _Plan) -> str:
    report = plan.report
    others = [name for name in OPERATORS.names() if name not in (report.name, "Conv2D")]
    others = [name for name in others if coverage(model, name).replaced]
    hints = [f"operators that apply by their own rules: {', '.join(others)}"] if others else []
    if not plan.rules.pairs and (found := pairs(model)):
        hints.append(
            f"rules.pairs=true replaces its {len(found)} pairs of a depthwise convolution and the 1x1 after it"
        )
    return (
        f"{report.name} replaces none of the {len(report.rows)} convolutions of {type(model).__name__} "
        f"(mostly: {_commonest(report.rows)}); " + "; ".join(hints or ["change the rules or the operator"])
    )
