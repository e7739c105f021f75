"""The tables of operators and of recalibration blocks and heads, in Markdown, as README_cn.md shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ppeconv.geometry import ConvGeometry
from ppeconv.operators.cost import Cost
from ppeconv.registry import HEADS, OPERATORS, RECALIBRATIONS, placed
from ppeconv.schema.declaration import Paper

COMPARED = ConvGeometry.of(64, 64, 3, 1, 1, bias_attr=False)
"""The plain convolution that the tables set operators beside, on 32 x 32 pixels."""


def operators_table(summaries: Mapping[str, str] | None = None) -> str:
    """A row for each operator: summary, papers, own arguments with defaults, share of the plain convolution's work.

    Args:
        summaries: a line on each operator, instead of the first lines of the docstrings.
    """
    summaries = OPERATORS.summaries() if summaries is None else summaries
    rows = [
        "| 算子 | 做法 | 论文 | 自有参数与默认值 | 参数量比 | MACs 比 |",
        "|---|---|---|---|---|---|",
        *(_row(name, summary) for name, summary in summaries.items()),
    ]
    return "\n".join(rows) + "\n\n3x3、64→64 通道、默认参数，与普通卷积相比；参数量含算子内部的 BN 与偏置。\n"


def blocks_table(summaries: Mapping[str, str]) -> str:
    """A row for each recalibration block and head: summary, papers, own arguments, counts at 64 channels."""
    rows = ["| 名字 | 做法 | 论文 | 自有参数与默认值 | 参数量 | MACs |", "|---|---|---|---|---|---|"]
    for registry in (RECALIBRATIONS, HEADS):
        for name in registry.names():
            cost = registry.get(name).formula(64, 32, 32)
            head = f"[{name}](docs/recalibration/{name.lower()}.md) | {summaries[name]} | {papers(name)}"
            rows.append(f"| {head} | {_defaults(name)} | {cost.params:,} | {cost.macs:,} |")
    return "\n".join(rows) + "\n\n64 通道、32×32 的特征图、默认参数。\n"


def share_of_plain(name: str) -> tuple[float, float]:
    """Parameters and MACs of an operator beside the plain 3x3 convolution from 64 to 64 channels."""
    ours = OPERATORS.get(name).formula(COMPARED, 32, 32)
    plain = Cost.of(COMPARED, 32, 32)
    return ours.params / plain.params, ours.macs / plain.macs


def _row(name: str, summary: str) -> str:
    params, macs = share_of_plain(name)
    own = _defaults(name)
    link = f"[{name}](docs/operators/{name.lower()}.md)"
    return f"| {link} | {summary.rstrip(':')} | {papers(name)} | {own} | {params:.1%} | {macs:.1%} |"


def _defaults(name: str) -> str:
    own = placed(name).get(name).Arguments().model_dump()
    return ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in own.items()) or "—"


def papers(name: str) -> str:
    """Links to the papers of an operator, block or head; those that are not at arXiv by where they appeared."""
    return ", ".join(map(_link, placed(name).get(name).papers)) or "—"


def _link(paper: Paper) -> str:
    return f"[{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})" if paper.arxiv else paper.venue
