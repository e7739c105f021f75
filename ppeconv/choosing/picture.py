"""The picture of what could be taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppeconv.choosing import pareto
from ppeconv.choosing.advice import Option, fastest
from ppeconv.choosing.pareto import Point


def draw(options: Sequence[Option], file: str | Path) -> None:
    """Accuracy over latency of those that were trained; where no operator was, multiply-adds over latency of all."""
    best = fastest(options)
    trained = [option for option in best if option.top1 is not None]
    if any(not option.candidate.is_plain for option in trained):
        pareto.draw({"latency, ms": [_point(it, 100 * (it.top1 or 0.0)) for it in trained]}, "top-1, %", file)
    else:
        pareto.draw({"latency, ms": [_point(it, it.macs / 1e6) for it in best]}, "multiply-adds, million", file)


def _point(option: Option, score: float) -> Point:
    candidate = option.candidate
    name = candidate.arguments if candidate.is_plain and candidate.arguments else str(candidate)
    return Point(name, option.latency_ms or 0.0, score, is_plain=candidate.is_plain)
