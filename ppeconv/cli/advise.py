"""`advise`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppeconv.cli.options import (
    add_search,
    add_sitting,
    command_parser,
    each,
    not_measured,
    of,
    path,
    require_writable,
    write_to,
)
from ppeconv.domains import Positive

if TYPE_CHECKING:
    from ppeconv.choosing.advice import Option


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = command_parser(
        "advise",
        "Measure the operators that apply to a network, and narrower plain ones, beside it on this machine, and say "
        "what to take for a time.",
    )
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument("--arch", metavar="NAME", help="a backbone, such as ResNet20; -o Arch.width=2 changes it")
    network.add_argument("-c", "--config", type=path, metavar="FILE", help="a config's network without its operators")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument(
        "--budget",
        type=of(Positive),
        metavar="SHARE",
        help="time that there is, as a share of the plain network's own latency on its fastest runtime, such as 0.5",
    )
    budget.add_argument("--budget-ms", type=of(Positive), metavar="MS", help="time that there is, in milliseconds")
    add_search(parser, "")
    add_sitting(parser, rounds=9)
    parser.add_argument(
        "--check", action="store_true", help="export what was chosen anew, measure it and compare with the prediction"
    )
    parser.add_argument("--csv", type=path, metavar="FILE", help="write every network on every runtime there")
    parser.add_argument("--plot", type=path, metavar="FILE", help="draw them, such as advice.png")
    return parser


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    fits: str
    operator: str
    arguments: str
    latency_ms: float
    ratio: float
    runtime: str
    params: int
    macs: int
    top1: str
    trained: str


def run(arguments: argparse.Namespace) -> None:
    """Measure and advise."""
    from ppeconv.benchmark.machine import facts
    from ppeconv.benchmark.table import as_text, write_csv
    from ppeconv.choosing.advice import fastest
    from ppeconv.choosing.advise import advise
    from ppeconv.choosing.check import check
    from ppeconv.choosing.picture import draw

    require_writable([arguments.csv], [arguments.plot])
    machine = {**facts(), **({"threads": str(arguments.threads)} if arguments.threads else {})}
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    advice = advise(
        arguments.arch,
        arguments.budget,
        budget_ms=arguments.budget_ms,
        config=arguments.config,
        overrides=arguments.override,
        operators=arguments.operators and each(arguments.operators, []),
        runtimes=arguments.runtime and each(arguments.runtime, []),
        batch_size=arguments.batch_size,
        threads=arguments.threads,
        form=arguments.form,
        rounds=arguments.rounds,
        measure_again=arguments.measure_again,
        say=lambda line: print(line, flush=True),
    )
    print(as_text([_line(option, advice.budget_ms) for option in fastest(advice.options)]))
    for line in not_measured((it.runtime, it.reason, str(it.candidate)) for it in advice.options if it.reason):
        print(line)
    print(f"\n{advice.sentence}\n{advice.command}")
    if arguments.csv:
        write_to(arguments.csv, lambda file: write_csv(advice.options, file, {**machine, **advice.shared}))
    if arguments.plot:
        write_to(arguments.plot, lambda file: draw(advice.options, file))
    if arguments.check:
        print(check(advice))


def _line(option: Option, budget_ms: float) -> Line:
    known = option.top1 is not None
    return Line(
        "yes" if (option.latency_ms or 0.0) <= budget_ms else "no",
        option.operator,
        option.arguments,
        option.latency_ms or 0.0,
        option.ratio or 0.0,
        option.runtime,
        option.params,
        option.macs,
        f"{option.top1:.2%}" if known else "",
        f"{option.data}, {option.epochs} epochs, seeds {option.seeds}" if known else "",
    )
