"""Changing residual branches of a network: rules -> new blocks -> report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paddle import nn

from ppeconv.branches.find import ResidualBlock, residual_blocks
from ppeconv.errors import Unsupported, UserError
from ppeconv.layers.parameters import parameter_count
from ppeconv.layers.walk import exchange
from ppeconv.registry import BRANCHES, Choice
from ppeconv.schema import check
from ppeconv.surgery.report import Report, Row, counted
from ppeconv.surgery.rules import Blocks
from ppeconv.surgery.sites import CLOSED


def change_branches(
    model: nn.Layer,
    name: str | Choice,
    rules: Blocks | Mapping[str, Any] | None = None,
    input_size: Sequence[int] | None = None,
    **own: Any,
) -> tuple[nn.Layer, Report]:
    """Make residual branches of a network narrower, or leave them out, in place.

    Args:
        model: a network with residual blocks, written in any way, see `residual_blocks`.
        name: "NarrowBranch" or "NoBranch", or what `BRANCHES.choose` gives for one.
        rules: which blocks; see `Blocks`. All when not given.
        input_size: [N, C, H, W]; when given, the report holds MACs too.
        own: the arguments, such as ratio=0.5.

    Raises:
        UserError: there is no block that can be changed so, or an argument is wrong. The network is then unchanged.
    """
    choice = BRANCHES.choose(name, own)
    rules = rules if isinstance(rules, Blocks) else check(Blocks, rules or {}, "rules")
    report = Report(choice.name, "{done} of {all} residual blocks changed")
    new: dict[int, nn.Layer] = {}
    for block in residual_blocks(model, input_size):
        row = Row(block.path, f"{block.in_shape[0]}->{block.out_shape[0]} channels", parameter_count(block.layer))
        row.reason = "" if rules.names(block.path) else "not named by rules"
        row.reason = row.reason or refusal(choice, block)
        report.rows.append(row)
        if not row.reason:
            layer = new[id(block.layer)] = choice.make.changed(block, choice.own)
            row.after = f"{choice.name}, {choice.make.describe(block, choice.own)}"
            row.params_after = parameter_count(layer)
    if not new:
        raise UserError(_none(model, report))
    before = counted(model, input_size)
    model = exchange(model, new, CLOSED)
    report.compare(before, counted(model, input_size))
    return model, report


def refusal(choice: Choice, block: ResidualBlock) -> str:
    """Why a block cannot be changed so; empty where it can."""
    try:
        choice.make.refuse(block, choice.own)
    except Unsupported as refused:
        return str(refused)
    return ""


def _none(model: nn.Layer, report: Report) -> str:
    name, kind = report.name, type(model).__name__
    if not report.rows:
        return f"{name} changes residual blocks, layers that add a branch to a shortcut, and {kind} has none"
    reasons = "; ".join(f"{row.path}: {row.reason}" for row in report.rows[:3])
    return f"{name} changes none of the {len(report.rows)} residual blocks of {kind} ({reasons})"
