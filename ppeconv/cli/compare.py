"""`compare`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppeconv.cli.options import (
    CommandParser,
    add_batch_sizes,
    add_import,
    add_measure_again,
    add_sitting,
    each,
    not_measured,
    path,
    require_writable,
    write_to,
)
from ppeconv.errors import UserError
from ppeconv.extras import present

if TYPE_CHECKING:
    from ppeconv.benchmark.inference import InferenceSpeed
    from ppeconv.choosing.comparison import Comparison, Cost
    from ppeconv.choosing.contenders import Contender
    from ppeconv.choosing.plain_line import Verdict


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = CommandParser(
        prog="ppeconv compare",
        description="Trained networks beside each other: accuracy, parameters, MACs, latency measured in turns, time "
        "of training, and whether a narrower plain network is better at equal cost.",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        type=path,
        metavar="RUN",
        help="run folders (those of one network with several seeds become one row); zoo:NAME for a row or a table of "
        "the zoo, such as zoo:resnet20_spconv or zoo:main",
    )
    add_sitting(parser, rounds=5)
    add_batch_sizes(parser, "1 and 64")
    add_measure_again(parser)
    parser.add_argument("--no-latency", action="store_true", help="measure nothing")
    parser.add_argument("--csv", type=path, metavar="FILE", help="write a row for each network, runtime and batch size")
    parser.add_argument("--markdown", type=path, metavar="FILE", help="write the table as Markdown")
    parser.add_argument(
        "--plots",
        type=path,
        metavar="DIR",
        help="draw accuracy against parameters, MACs and each latency into a folder",
    )
    parser.add_argument(
        "--curves", type=path, metavar="FILE", help="draw the curves of the trainings, such as curves.png"
    )
    add_import(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Compare."""
    from ppeconv.benchmark import machine
    from ppeconv.benchmark.table import aligned, as_markdown, write_csv
    from ppeconv.choosing.comparison import Comparison
    from ppeconv.choosing.contenders import contenders
    from ppeconv.choosing.curves import draw_curves

    require_writable([arguments.csv, arguments.markdown], [arguments.curves])
    if arguments.plots:
        present("matplotlib", "train")
    compared = contenders(arguments.sources, tables=Path(__file__).parents[2] / "docs" / "results")
    for note in _notes(compared):
        print(f"ppeconv: warning: {note}", file=sys.stderr)
    facts = {} if arguments.no_latency else {**machine.facts(), "form": arguments.form}
    if facts:
        facts["threads"] = str(arguments.threads or machine.threads())
        print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    comparison = Comparison(compared, [] if arguments.no_latency else _speeds(compared, arguments))
    table = [_cells(comparison, contender) for contender in comparison.contenders]
    names, rows = list(table[0]), [list(cells.values()) for cells in table]
    print(aligned(names, rows))
    print(*_explained(comparison), sep="\n")
    if arguments.csv:
        write_to(arguments.csv, lambda file: write_csv(comparison.rows(), file, facts))
    if arguments.markdown:
        write_to(arguments.markdown, lambda file: _write_text(file, as_markdown(names, rows)))
    if arguments.plots:
        write_to(arguments.plots, lambda folder: _draw(comparison, Path(folder)))
    if arguments.curves:
        write_to(arguments.curves, lambda file: draw_curves(compared, comparison.titles, file))


def _notes(compared: Sequence[Contender]) -> Iterator[str]:
    """What has to be known of the accuracies."""
    if untrained := [contender.name for contender in compared if contender.top1 is None]:
        yield f"not trained yet: {', '.join(untrained)}"
    for contender in compared:
        for run in contender.unfinished:
            yield f"{run.folder} is unfinished: {len(run.epochs)} of {contender.config.Global.epochs} epochs"
    if len({contender.recipe for contender in compared if contender.top1 is not None}) > 1:
        yield (
            "these were not all trained alike (epochs, optimizer, loss, data, precision or starting weights), which "
            "accuracies depend on, too"
        )
    unknown = [contender.name for contender in compared if contender.is_of_folder and contender.data is None]
    if unknown and any(contender.data for contender in compared):
        yield (
            f"the evaluation images of {', '.join(unknown)} are not on this machine; whether they are those of the "
            "others is not known"
        )


def _speeds(compared: Sequence[Contender], arguments: argparse.Namespace) -> list[InferenceSpeed]:
    from ppeconv.benchmark import machine
    from ppeconv.benchmark.inference import BATCH_SIZES
    from ppeconv.choosing.comparison import measure
    from ppeconv.choosing.sittings import How, runtimes_of

    runtimes = tuple(runtimes_of(arguments.runtime and each(arguments.runtime, [])))
    threads = arguments.threads or machine.threads()
    return [
        row
        for batch in each(arguments.batch_sizes, BATCH_SIZES)
        for row in measure(
            compared,
            How(runtimes, batch, threads, arguments.form, arguments.rounds),
            lambda line: print(line, file=sys.stderr, flush=True),
            arguments.measure_again,
        )
    ]


def _cells(comparison: Comparison, contender: Contender) -> dict[str, str]:
    """A row of the table, by column."""
    spread, seconds = contender.spread, contender.seconds
    params, macs = contender.counts
    cells = {
        "name": contender.name,
        "operator": contender.title,
        "top1": "" if contender.top1 is None else f"{contender.top1:.2%}",
        "seeds": f"{spread[0]:.2%} to {spread[1]:.2%}" if spread else "",
        "epochs": str(contender.config.Global.epochs),
        "params": f"{params:,}",
        "macs": f"{macs:,}",
        "training": "" if seconds is None else f"{seconds / 3600:.2f} h",
    }
    for cost in comparison.costs:
        if cost.batch_size and contender.name in cost.of:
            cells[f"ms_{cost.batch_size}_{cost.runtime}"] = f"{cost.of[contender.name]:.3g}"
        elif cost.batch_size:
            cells[f"ms_{cost.batch_size}_{cost.runtime}"] = ""
    for cost in _judged(comparison):
        where = f"{cost.batch_size}_ms" if cost.batch_size else cost.name
        verdict = comparison.verdict(contender, cost)
        cells[f"vs_plain_{where}"] = said(verdict) if verdict else ""
    return cells


def said(verdict: Verdict) -> str:
    """In a few characters: points of top-1, or a word where there is no figure."""
    points = "" if verdict.margin is None else f"{100 * verdict.margin:+.2f} "
    return f"{points}{verdict.standing}"


def _judged(comparison: Comparison) -> list[Cost]:
    """Costs at which networks are held against the plain one."""
    from ppeconv.choosing.comparison import FASTEST

    return [cost for cost in comparison.costs if cost.name == "MACs" or cost.runtime == FASTEST]


def _explained(comparison: Comparison) -> Iterator[str]:
    """What the columns mean, and what could not be measured."""
    yield ""
    yield "top1 is that of the last epoch, which was not chosen, the mean where there are several seeds."
    if any(comparison.verdict(it, cost) for it in comparison.contenders for cost in _judged(comparison)):
        yield (
            "vs_plain_*: points of top-1 against the plain network of the width that costs as much, interpolated "
            "between those that were trained alike; `outside`: the plain ones here all cost more, or all less."
        )
        noise = comparison.noise(comparison.reference)
        yield (
            f"level: no further from it than two seeds of one network from each other, {100 * noise:.2f} points."
            if noise
            else "No network has several seeds here, so that small differences may be chance."
        )
    yield from not_measured((row.runtime, row.reason, row.network) for row in comparison.speeds if row.reason)


def _draw(comparison: Comparison, folder: Path) -> None:
    from ppeconv.choosing.pareto import draw, in_percent

    folder.mkdir(parents=True, exist_ok=True)
    drawn = [(cost, comparison.points(cost)) for cost in comparison.costs]
    if not any(points for _, points in drawn):
        raise UserError("nothing is drawn, as none of these networks is trained")
    for cost, points in drawn:
        if points:
            name = f"latency_{cost.batch_size}_{cost.runtime}" if cost.batch_size else cost.name.lower()
            draw({cost.name: in_percent(points)}, "top-1 (%)", folder / f"{name}.png")


def _write_text(file: str, text: str) -> None:
    Path(file).write_text(text, "utf-8")
