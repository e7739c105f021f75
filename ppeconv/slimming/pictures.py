"""The pictures of a report: predicted loss over the budget, and what was chosen along the depth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppeconv import files
from ppeconv.slimming.measurements import Chosen, Measurements

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BUDGETS = 24
"""Points of the curve."""
_FIRST = 0.01
"""Share of the first; parts that were measured badly may sum to more than the whole."""
_AS_IT_WAS = "as it was"


def draw_budget(measurements: Measurements, chosen: Chosen, file: Path) -> None:
    """Predicted loss over the budget, as a share of the network's own latency, and the choice that was made."""
    figure, axes = _figure(6.0)
    shares = np.linspace(max(measurements.fastest_ms / measurements.plain_ms, _FIRST), 1.0, _BUDGETS)
    losses = [measurements.choose(share * measurements.plain_ms * (1 + 1e-9)).predicted_loss for share in shares]
    axes.step(shares, losses, where="post", color="0.3")
    axes.plot(chosen.predicted_ms / measurements.plain_ms, chosen.predicted_loss, "o", color="tab:red")
    axes.set_xlabel("latency / latency of the network as it was")
    axes.set_ylabel("predicted loss, images held out")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    files.write_picture(file, figure, dpi=100)


def draw_depth(measurements: Measurements, chosen: Chosen, file: Path) -> None:
    """What each position gains, in the order of the network, coloured by what stands there."""
    spots = measurements.spots
    names = [chosen.options[it.path].name if it.path in chosen.options else _AS_IT_WAS for it in spots]
    gains = [chosen.options[it.path].gain_ms if it.path in chosen.options else 0.0 for it in spots]
    figure, axes = _figure(max(6.0, 0.3 * len(spots)))
    for number, name in enumerate(dict.fromkeys(names)):
        at = [place for place, own in enumerate(names) if own == name]
        axes.bar(at, [gains[place] for place in at], color=f"C{number % 10}", label=name)
    axes.set_xticks(range(len(spots)), [it.path for it in spots], rotation=90, fontsize=7)
    axes.set_ylabel("gain, ms")
    axes.legend(fontsize=8)
    files.write_picture(file, figure, dpi=100)


def _figure(width: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()
