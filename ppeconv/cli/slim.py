"""`slim`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppeconv.cli.options import ZOO, add_search, add_several, add_turns, apart, command_parser, each, of, path
from ppeconv.domains import Count, Positive, ShareOrAll
from ppeconv.engine.interrupt import advising
from ppeconv.errors import UserError

if TYPE_CHECKING:
    from ppeconv.slimming.run import SlimRun


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = command_parser(
        "slim",
        "Make a trained network as fast as a budget asks for: measure what may stand in the place of each layer, fit "
        "it to the layer, choose by integer programming.",
    )
    parser.add_argument("--run", required=True, type=path, metavar="DIR", help=f"run folder, or {ZOO}")
    budget = parser.add_mutually_exclusive_group(required=True)
    words = "latency that there is, as a share of the network's own, such as 0.5; several make a folder each"
    add_several(budget, "--budget", of(ShareOrAll), "SHARE", words)
    add_several(budget, "--budget-ms", of(Positive), "MS", "latency that there is, in milliseconds")
    parser.add_argument("--output", type=path, metavar="DIR", help="folder (default: <Global.output_dir>/<name>_slim)")
    parser.add_argument("--runtime", default="paddle", metavar="RUNTIME", help="what it will run on (default paddle)")
    add_turns(parser, rounds=9)
    add_search(parser, " operators and changes of branches")
    add_several(parser, "--keep", str, "PATTERN", "layers that stay, such as layer1.*", default=[])
    parser.add_argument(
        "--images", type=of(Count), default=512, metavar="N", help="training images to fit on (default 512)"
    )
    parser.add_argument(
        "--held-out", type=of(Count), default=1024, metavar="N", help="others to judge by (default 1024)"
    )
    parser.add_argument(
        "--measurements", type=path, metavar="FILE", help="choose by a measurements.json, without measuring"
    )
    parser.add_argument(
        "--finetune",
        type=of(Count),
        metavar="EPOCHS",
        help="train each for so many epochs, with the network that it was made of as teacher",
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Measure, choose, write, train."""
    from ppeconv.slimming.run import SlimRun

    of_the_training, overrides = apart(arguments.override)
    job = SlimRun(
        arguments.run,
        overrides,
        folder=arguments.output,
        runtime=arguments.runtime,
        batch_size=arguments.batch_size,
        threads=arguments.threads,
        rounds=arguments.rounds,
        again=arguments.measure_again,
        operators=arguments.operators and each(arguments.operators, []),
        keep=arguments.keep,
        images=arguments.images,
        held_out=arguments.held_out,
        measurements=arguments.measurements,
        overwrite=_overwrites(of_the_training),
    )
    with advising("the same command goes on"), job.alone():
        _slim(job, arguments, of_the_training)


def _slim(job: SlimRun, arguments: argparse.Namespace, of_the_training: Sequence[str]) -> None:
    """Make a network for each budget, and train it where that is asked for."""
    shares = {f"{share:.12g}": share for share in arguments.budget or ()}
    times = {f"{value:.12g}ms": value for value in arguments.budget_ms or ()}
    if arguments.finetune and not of_the_training:
        job.require_untrained([*shares, *times])
    measured = job.measurements()
    budgets = {label: share * measured.plain_ms for label, share in shares.items()} | times
    results, refusals = [], []
    for label, value in budgets.items():
        try:
            results.append(job.result(measured, value, label, arguments.finetune))
        except UserError as error:
            refusals.append(f"budget {label}: {error}")
    for found in results:
        print(f"\n{found.folder}: {found.slimmed}", *found.slimmed.measurements.doubts, sep="\n")
        print(found.folder / "report.md")
        if arguments.finetune:
            try:
                _train(found.folder / "config.yaml", of_the_training)
            except UserError as error:
                refusals.append(str(error))
    if refusals:
        raise UserError("; ".join(refusals))


def _overwrites(settings: Sequence[str]) -> bool:
    """Whether overrides ask for it; raises UserError for another value than true or false."""
    from ppeconv.config.overrides import override
    from ppeconv.config.sections import GlobalSection
    from ppeconv.schema import check

    values: dict[str, Any] = {"Global": {}}
    override(values, settings)
    return check(GlobalSection, values["Global"], "Global").overwrite


def _train(config: Path, of_the_training: Sequence[str]) -> None:
    from ppeconv.experiment import Experiment

    with advising("the same command goes on with -o Global.checkpoints=auto"):
        Experiment(str(config), of_the_training).train()
