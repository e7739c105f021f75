"""Pictures of accuracy against cost, with the plain networks of several widths as a line."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppeconv.files import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    """A network in a picture."""

    name: str
    cost: float
    """Such as milliseconds or MACs; less is better."""
    score: float
    """Such as a top-1 accuracy; more is better."""
    spread: tuple[float, float] | None = None
    """Lowest and highest score over the seeds, where there are several."""
    is_plain: bool = False
    """Whether it is the plain network at some width: these are joined by a line."""


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other one beats in cost or score without losing in the other, cheapest first."""
    best = -math.inf
    found = []
    for point in sorted(points, key=lambda point: (point.cost, -point.score)):
        if point.score > best:
            best = point.score
            found.append(point)
    return found


def in_percent(points: Sequence[Point]) -> list[Point]:
    """The same with scores that were fractions."""
    return [
        replace(
            point,
            score=100 * point.score,
            spread=(100 * point.spread[0], 100 * point.spread[1]) if point.spread else None,
        )
        for point in points
    ]


def draw(panels: Mapping[str, Sequence[Point]], score: str, file: str | Path) -> None:
    """Score over cost (on a logarithmic axis), a panel for each cost.

    A filled mark is on the Pareto front, an open one is not. The line joins the plain networks that are:
    what lies above it is more accurate than a narrower plain network at equal cost.

    Args:
        panels: name of the cost -> points; every one has a cost above zero.
        score: name of the score.
        file: its suffix says the format, such as .svg or .png.
    """
    save_figure(figure_of(panels, score), file)


def figure_of(panels: Mapping[str, Sequence[Point]], score: str) -> Figure:
    """What `draw` draws."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 * len(panels), 5), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    places = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (cost, points) in zip(places, panels.items(), strict=True):
        _marks(axes, points)
        axes.set(xlabel=cost, ylabel=score if axes is places[0] else "")
    marks = [axes.get_legend_handles_labels() for axes in places]
    named = {label: mark for handles, labels in marks for mark, label in zip(handles, labels, strict=True)}
    figure.legend(named.values(), named, loc="outside lower center", ncols=len(named), fontsize=8)
    canvas.draw()  # before this no place in the picture is known
    figure.set_layout_engine("none")
    for axes, points in zip(places, panels.values(), strict=True):
        _name(axes, points, canvas.get_renderer())
    return figure


def _marks(axes: Any, points: Sequence[Point]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    best = front(points)
    plain = front([point for point in points if point.is_plain])
    axes.plot(*_xy(plain), color=_PLAIN, linewidth=1.2, label="plain, at several widths", zorder=1)
    for is_plain, colour, label in ((True, _PLAIN, None), (False, _OTHER, "others")):
        own = [point for point in points if point.is_plain == is_plain]
        for chosen, fill in (([it for it in own if it in best], colour), ([it for it in own if it not in best], "w")):
            axes.scatter(*_xy(chosen), s=30, facecolors=fill, edgecolors=colour, zorder=3)
        if label and own:
            axes.scatter([], [], s=30, facecolors=colour, edgecolors=colour, label=label)
    axes.scatter([], [], s=30, facecolors="w", edgecolors="0.3", label="open: not on the Pareto front")
    for point in points:
        if point.spread:
            colour = _PLAIN if point.is_plain else _OTHER
            axes.vlines(point.cost, *point.spread, color=colour, linewidth=1, zorder=2)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(_short)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.12)
    axes.grid(alpha=0.25)


_DPI = 120
_PLAIN, _OTHER = "0.3", "tab:blue"


def _xy(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.cost for point in points], [point.score for point in points]


def _short(value: float, position: int) -> str:
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def _name(axes: Any, points: Sequence[Point], renderer: Any) -> None:
    """Put the names beside the marks, where they cover no mark, no other name and not the line."""
    pixels = {point: axes.transData.transform((point.cost, point.score)) for point in points}
    taken = [_box(x - 5, y - 5, 10, 10) for x, y in pixels.values()]
    taken += [_box(x - 1, y - 1, 2, 2) for x, y in _along(points, pixels)]
    frame = _box(axes.bbox.x0, axes.bbox.y0, axes.bbox.width, axes.bbox.height)
    for point in sorted(points, key=lambda point: (point.is_plain, -point.score)):
        text = axes.annotate(
            point.name,
            (point.cost, point.score),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=7.5,
            color=_PLAIN if point.is_plain else "black",
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3},
            zorder=4,
        )
        size = text.get_window_extent(renderer)
        offsets = np.array(list(_offsets(size.width, size.height)))
        places = [_box(x, y, size.width, size.height) for x, y in pixels[point] + offsets]
        chosen = _best(np.array(places), np.array(taken), frame)
        text.set_position(tuple(offsets[chosen] * 72 / _DPI))
        taken.append(places[chosen])


def _box(x: float, y: float, width: float, height: float) -> Any:
    """Its left, lower, right and upper side."""
    return np.array([x, y, x + width, y + height])


def _best(places: Any, taken: Any, frame: Any) -> int:
    """The first place that lies in the frame and meets nothing, else the one that meets the least."""
    apart = (places[:, None, :2] > taken[None, :, 2:]) | (places[:, None, 2:] < taken[None, :, :2])
    met = (~apart.any(-1)).sum(-1)
    outside = (places[:, :2] < frame[:2]).any(-1) | (places[:, 2:] > frame[2:]).any(-1)
    return int(np.argmin(met + len(taken) * outside))


def _along(points: Sequence[Point], pixels: Mapping[Point, Any]) -> Iterator[Any]:
    """Places on the line of the plain networks."""
    plain = front([point for point in points if point.is_plain])
    for left, right in itertools.pairwise(plain):
        yield from np.linspace(pixels[left], pixels[right], 60)


def _offsets(width: float, height: float) -> Iterator[tuple[float, float]]:
    """Of a name's lower left corner from its mark, in pixels, the nearest first."""
    for distance, part in itertools.product(range(7, 120, 7), range(16)):
        angle = math.pi * (part // 2 / 8 * (-1) ** part)
        right, up = math.cos(angle), math.sin(angle)
        yield distance * right + (right - 1) / 2 * width, distance * up + (up - 1) / 2 * height
