"""Putting operators into a network in place of its convolutions: rules -> new layers -> report."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from paddle import nn

from ppeconv import observe
from ppeconv.counting import count, own_parameters, parameter_count
from ppeconv.domains import SOME, Count, KernelSide, Stride
from ppeconv.errors import Unsupported, UserError
from ppeconv.geometry import ConvGeometry
from ppeconv.layers.folding import hooked
from ppeconv.layers.handover import fit_in, hand_over, hand_over_hooks, lost, refresh_weights
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.conv2d import Conv2D
from ppeconv.operators.cost import Cost
from ppeconv.operators.octaveconv import OctaveConv
from ppeconv.recalibration.base import Recalibration
from ppeconv.registry import OPERATORS, Choice
from ppeconv.schema import Section, check
from ppeconv.surgery.flow import Passage, octave_passage


class Rules(Section):
    """Which convolutions are replaced. The default takes every dense one with a kernel above 1x1 but the first."""

    min_kernel: KernelSide = 2
    """Smallest kernel side that is replaced."""
    kernel_size: Annotated[list[KernelSide], SOME] | None = None
    """Kernel sides that are replaced, instead of all from min_kernel on."""
    stride: Annotated[list[Stride], SOME] | None = None
    """Strides that are replaced; all when not given."""
    groups: Literal["dense", "grouped", "depthwise", "any"] = "dense"
    min_channels: Count = 1
    """Fewest input and output channels that are replaced."""
    include: list[str] = ["*"]
    """Shell patterns of layer paths; a layer must match one."""
    exclude: list[str] = []
    """Shell patterns of layer paths that stay as they are."""
    skip_first: bool = True
    """Keep the network's first convolution, which reads the image."""
    pairs: bool = False
    """Replace a depthwise convolution and the 1x1 after it, taken together, instead of single convolutions."""
    flow: bool = False
    """OctaveConv alone: both resolutions flow through the residual blocks; the other rules have no say then."""

    def reason_to_keep(self, path: str, geometry: ConvGeometry, first: bool) -> str | None:
        """Why these rules leave a convolution alone, or None when they replace it."""
        kernel, channels = geometry.kernel_size, min(geometry.in_channels, geometry.out_channels)
        if not any(fnmatch.fnmatch(path, pattern) for pattern in self.include):
            return "not named by rules.include"
        if any(fnmatch.fnmatch(path, pattern) for pattern in self.exclude):
            return "named by rules.exclude"
        if first and self.skip_first:
            return "the first convolution is kept (rules.skip_first)"
        if self.kernel_size is not None and not set(kernel) <= set(self.kernel_size):
            return f"kernel {kernel[0]}x{kernel[1]} is not in rules.kernel_size {self.kernel_size}"
        if self.kernel_size is None and max(kernel) < self.min_kernel:
            return f"kernel {kernel[0]}x{kernel[1]} is below rules.min_kernel {self.min_kernel}"
        if self.stride is not None and not set(geometry.stride) <= set(self.stride):
            return f"stride {geometry.stride} is not in rules.stride {self.stride}"
        kind = "depthwise" if geometry.depthwise else "grouped" if geometry.groups > 1 else "dense"
        if self.groups not in ("any", kind):
            return f"{kind}, and rules.groups is {self.groups}"
        if channels < self.min_channels:
            return f"{channels} channels are fewer than rules.min_channels {self.min_channels}"
        return None


@dataclass
class Row:
    """What happened to one convolution; `reason` says why it stayed as it was."""

    path: str
    before: str
    params_before: int
    after: str | None = None
    params_after: int | None = None
    reason: str = ""
    inherited: bool = False
    """Whether the weights of the convolution are those of the operator now."""


@dataclass
class Report:
    """What `replace_conv` did: a row for every convolution of the network."""

    operator: str
    rows: list[Row] = field(default_factory=list)
    params: tuple[int, int] = (0, 0)
    """Trainable parameters of the network before and after."""
    macs: tuple[int, int] | None = None
    """MACs before and after, batch 1, when an input size was given."""
    remarks: dict[str, list[str]] = field(default_factory=dict)
    """What to be aware of -> the paths of the layers that it is true of."""

    def remark(self, what: str, path: str) -> None:
        """Add a remark on a layer."""
        self.remarks.setdefault(what, []).append(path)

    @property
    def replaced(self) -> list[Row]:
        """Rows of the convolutions that were replaced."""
        return [row for row in self.rows if row.after]

    @property
    def skipped(self) -> list[Row]:
        """Rows of the convolutions that stayed, each with its reason."""
        return [row for row in self.rows if not row.after]

    def summary(self) -> str:
        """One line: how many were replaced and what that did to the counts."""
        text = (
            f"{self.operator}: {len(self.replaced)} of {len(self.rows)} convolutions replaced, "
            f"parameters {self.params[0]:,} -> {self.params[1]:,}"
        )
        return text + (f", MACs {self.macs[0]:,} -> {self.macs[1]:,}" if self.macs else "")

    def __str__(self) -> str:
        width = max((len(row.path) for row in self.rows), default=0)
        lines = [
            f"  {row.path:<{width}}  {row.before}  "
            + (
                f"-> {row.after}, parameters {row.params_before:,} -> {row.params_after:,}"
                + (", weights carried over" if row.inherited else "")
                if row.after
                else f"kept: {row.reason}"
            )
            for row in self.rows
        ]
        return "\n".join([self.summary(), *map(self._line, self.remarks), *lines])

    def _line(self, remark: str) -> str:
        paths, shown = self.remarks[remark], 3
        others = f" and {len(paths) - shown} more" if len(paths) > shown else ""
        return f"  note: {remark}: {', '.join(paths[:shown])}{others}"


@dataclass
class _Site:
    """A place where an operator goes: the convolution it replaces and the layers it makes superfluous."""

    path: str
    geometry: ConvGeometry
    layers: list[nn.Layer]
    superfluous: list[nn.Layer] = field(default_factory=list)
    own: Any = None
    """The operator's arguments at this place."""
    passed: bool = False
    """Whether octaves pass it."""

    @property
    def succession(self) -> list[nn.Layer]:
        """All the layers, in the order in which they run."""
        return [self.layers[0], *self.superfluous, *self.layers[1:]]

    def plain_cost(self, height: int, width: int) -> Cost:
        """Of the convolutions as they are."""
        cost = Cost()
        for conv in self.layers:
            geometry = ConvGeometry.of_layer(conv)
            cost += Cost.of(geometry, height, width)
            height, width = geometry.output_size(height, width)
        return cost


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
    report = Report(choice.name)
    passage = _passage(model, choice, rules)
    chosen = _choose(model, choice, rules, passage, report)
    if not chosen:
        raise UserError(_nothing_replaced(model, report, rules))
    before = _counts(model, input_size)
    substitutes = {}
    for row, site in chosen:
        new = make.made(site.geometry, site.own)
        hand_over(site.layers, new)
        row.after = f"{report.operator} {make.describe(site.geometry, site.own)}"
        row.params_after = parameter_count(new)
        row.inherited = len(site.layers) == 1 and _inherits(new, site.layers[0])
        for what in _remarks(make, site, row.inherited):
            report.remark(what, row.path)
        substitutes.update({id(layer): _nothing(layer) for layer in site.succession})
        substitutes[id(site.layers[-1])] = new
    if dry_run:
        saved = sum(row.params_before - row.params_after for row, _ in chosen)
        report.params = (before[0], before[0] - saved)
        return model, report
    for _, site in chosen:
        hand_over_hooks(site.succession, substitutes[id(site.layers[-1])])
    model = _substitute(model, substitutes)
    passage.settle()
    after = _counts(model, input_size)
    report.params = (before[0], after[0])
    report.macs = (before[1], after[1]) if input_size else None
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
    report = Report(operator)
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
) -> list[tuple[Row, _Site]]:
    """The sites that are replaced; every convolution of the network gets its row in the report."""
    chosen, first = [], True
    for site in _sites(model, rules.pairs):
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


def _reason(site: _Site, make: type[ConvOperator], rules: Rules, first: bool) -> str:
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


def _sites(model: nn.Layer, pairs: bool) -> Iterator[_Site]:
    """Every convolution once, in the order of registration; with `pairs`, depthwise and 1x1 as one site."""
    partner = _pairs(model) if pairs else {}
    taken = {id(site.layers[-1]) for site in partner.values()}
    for path, layer in _walk(model):
        if not isinstance(layer, nn.Conv2D) or id(layer) in taken:
            continue
        if id(layer) in partner:
            yield replace(partner[id(layer)], path=path)
        else:
            yield _Site(path, ConvGeometry.of_layer(layer), [layer])


def _walk(layer: nn.Layer, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, nn.Layer]]:
    """(path, layer) for each distinct layer; the insides of operators and recalibration blocks are not entered."""
    seen = set() if seen is None else seen
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield path, layer
    if not isinstance(layer, (ConvOperator, Recalibration)):
        for name, child in layer.named_children():
            yield from _walk(child, f"{path}.{name}" if path else name, seen)


def _pairs(model: nn.Layer) -> dict[int, _Site]:
    """Depthwise convolution, norm and activation, 1x1: found where an `nn.Sequential` guarantees that order."""
    found = {}
    for _, layer in _walk(model):
        if not _is_sequence(layer):
            continue
        chain = list(_flatten(layer))
        for start, depthwise in enumerate(chain):
            between = []
            for follower in chain[start + 1 :] if _is_depthwise(depthwise) else []:
                if _is_pointwise(follower, depthwise._out_channels):
                    merged = replace(
                        ConvGeometry.of_layer(depthwise),
                        out_channels=follower._out_channels,
                        groups=1,
                        bias=follower.bias is not None,
                    )
                    found[id(depthwise)] = _Site("", merged, [depthwise, follower], between)
                if not isinstance(follower, (nn.BatchNorm2D, *_ACTIVATIONS)):
                    break
                between.append(follower)
    return found


_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.Hardswish, nn.Swish, nn.Silu, nn.GELU, nn.Identity)


def _is_sequence(layer: nn.Layer) -> bool:
    return isinstance(layer, nn.Sequential) and type(layer).forward is nn.Sequential.forward


def _flatten(layer: nn.Layer) -> Iterator[nn.Layer]:
    for child in layer.children():
        if _is_sequence(child):
            yield from _flatten(child)
        else:
            yield child


def _is_depthwise(layer: nn.Layer) -> bool:
    return type(layer) is nn.Conv2D and ConvGeometry.of_layer(layer).depthwise


def _is_pointwise(layer: nn.Layer, channels: int) -> bool:
    if type(layer) is not nn.Conv2D:
        return False
    geometry = ConvGeometry.of_layer(layer)
    return geometry == ConvGeometry(channels, geometry.out_channels, (1, 1), bias=geometry.bias)


def _substitute(layer: nn.Layer, substitutes: Mapping[int, nn.Layer]) -> nn.Layer:
    """`layer` with every sub-layer in `substitutes` exchanged, also where one is used in several places."""
    if id(layer) in substitutes:
        return substitutes[id(layer)]
    if not isinstance(layer, (ConvOperator, Recalibration)):
        for name, child in list(layer._sub_layers.items()):
            if child is not None:
                layer._sub_layers[name] = _substitute(child, substitutes)
    return layer


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


def _remarks(make: type[ConvOperator], site: _Site, inherited: bool) -> Iterator[str]:
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


def _nothing_saved(make: type[ConvOperator], site: _Site) -> Iterator[str]:
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


def _counts(model: nn.Layer, input_size: Sequence[int] | None) -> tuple[int, int]:
    if input_size is None:
        return parameter_count(model), 0
    counts = count(model, input_size)
    return counts.params, counts.macs


def _nothing_replaced(model: nn.Layer, report: Report, rules: Rules) -> str:
    common = _commonest([row.reason for row in report.rows])
    others = [name for name in OPERATORS.names() if name not in (report.operator, "Conv2D")]
    others = [name for name in others if coverage(model, name).replaced]
    hints = [f"operators that apply by their own rules: {', '.join(others)}"] if others else []
    if not rules.pairs and (pairs := _pairs(model)):
        hints.append(
            f"rules.pairs=true replaces its {len(pairs)} pairs of a depthwise convolution and the 1x1 after it"
        )
    return (
        f"{report.operator} replaces none of the {len(report.rows)} convolutions of {type(model).__name__} "
        f"(mostly: {common}); " + "; ".join(hints or ["change the rules or the operator"])
    )
