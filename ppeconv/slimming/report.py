"""What was done for a budget, as a page in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppeconv.benchmark.table import as_markdown
from ppeconv.slimming.learning import Score
from ppeconv.slimming.slim import Slimmed


def page(
    title: str,
    slimmed: Slimmed,
    params: tuple[int, int],
    accuracies: tuple[float, float] | None,
    seconds: Mapping[str, float],
    commands: Sequence[str],
    pictures: Sequence[str] = (),
) -> str:
    """The page.

    Args:
        title: what was made.
        slimmed: the network.
        params: trainable parameters before and after.
        accuracies: top-1 on the evaluation images before and after, where these were evaluated.
        seconds: of each phase.
        commands: that go on with it.
        pictures: files beside the page.
    """
    measurements = slimmed.measurements
    start = Score(measurements.loss, measurements.top1)
    facts = measurements.facts
    where = (
        f"{facts.cpu}, runtime {facts.runtime}, batch size {facts.batch_size}, {facts.threads} threads, "
        f"ppeconv {facts.ppeconv}, Paddle {facts.paddle}; {measurements.images}."
    )
    took = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    parts = [
        f"# {title}\n",
        where + (f" Time: {took}.\n" if took else "\n"),
        *(f"**Doubtful**: {doubt}.\n" for doubt in measurements.doubts),
        as_markdown(["", "before", "after, predicted", "after, found"], list(_totals(slimmed, start))),
        as_markdown(["", "before", "after"], list(_counts(slimmed, params, accuracies))),
        *(f"![{name}]({name})\n" for name in pictures),
        "## Layers\n",
        as_markdown(["layer", "was", "is", "gain, ms", "rise of the loss", "error of the fit"], _layers(slimmed)),
        "Gains are measured with all layers of a geometry changed at once and divided by their number, and "
        "corrected by what choices took as a whole before this one; the rise of the loss is that of the layer alone, "
        "on images that it was not fitted on.\n",
        "## How to go on\n",
        "```bash\n" + "\n".join(commands) + "\n```\n",
    ]
    return "\n".join(parts)


def _totals(slimmed: Slimmed, start: Score) -> Sequence[Sequence[str]]:
    chosen, plain = slimmed.chosen, slimmed.measurements.plain_ms
    predicted = "none" if chosen.predicted_ms <= 0 else f"{chosen.predicted_ms:.3f}"
    measured = "not measured" if slimmed.measured_ms is None else f"{slimmed.measured_ms:.3f}{slimmed.off}"
    return [
        ["budget, ms", "", f"{chosen.budget_ms:.3f}", ""],
        ["latency, ms", f"{plain:.3f}", predicted, measured],
        ["loss, images held out", f"{start.loss:.4f}", f"{chosen.predicted_loss:.4f}", f"{slimmed.score.loss:.4f}"],
        ["top-1, images held out", f"{start.top1:.2%}", "", f"{slimmed.score.top1:.2%}"],
    ]


def _counts(
    slimmed: Slimmed, params: tuple[int, int], accuracies: tuple[float, float] | None
) -> Sequence[Sequence[str]]:
    rows = [
        ["MACs", f"{slimmed.measurements.plain_macs:,}", f"{slimmed.chosen.macs:,}"],
        ["parameters", *(f"{value:,}" for value in params)],
    ]
    return rows + ([["top-1, evaluation images", *(f"{value:.2%}" for value in accuracies)]] if accuracies else [])


def _layers(slimmed: Slimmed) -> list[list[str]]:
    rows = []
    for spot in slimmed.measurements.spots:
        if found := slimmed.chosen.options.get(spot.path):
            numbers = [f"{found.gain_ms:.3f}", f"{found.rise:+.4f}", f"{found.error:.3f}"]
            rows.append([spot.path, spot.geometry, str(found.option), *numbers])
    return rows
