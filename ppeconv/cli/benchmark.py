"""`benchmark`."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any

from ppeconv.cli.options import (
    ZOO,
    add_batch_sizes,
    add_precision,
    command_parser,
    each,
    listed,
    of,
    path,
    require_writable,
    write_to,
)
from ppeconv.deployment.runtimes import by_preference
from ppeconv.domains import Count
from ppeconv.errors import UserError, nearest
from ppeconv.registry import RUNTIMES


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    kinds = by_preference()
    quantizing = [name for name, kind in kinds.items() if kind.quantizes]
    parser = command_parser(
        "benchmark", "Measure networks beside each other in one run; medians. Ratios are to the first network."
    )
    parser.add_argument(
        "-c",
        "--config",
        dest="networks",
        action="append",
        type=lambda text: ("config", path(text)),
        metavar="FILE",
        help="a config's network with random weights; may be repeated",
    )
    parser.add_argument(
        "--run",
        dest="networks",
        action="append",
        type=lambda text: ("run", path(text)),
        metavar="DIR",
        help=f"a run's trained network, or {ZOO}; may be repeated and mixed with -c",
    )
    parser.add_argument(
        "--train", action="store_true", help="the training step, fast CPU layers beside stock Paddle, not inference"
    )
    parser.add_argument("--no-stock", action="store_true", help="with --train: the fast CPU layers alone")
    parser.add_argument(
        "--runtime",
        action="extend",
        type=listed,
        metavar="RUNTIME[,RUNTIME]",
        help=f"{', '.join(kinds)} (default paddle), several with commas; `all` for every one, without "
        f"{' and '.join(quantizing)} unless all networks are trained",
    )
    parser.add_argument("--form", choices=["deployed", "trained"], default="deployed", help="as in export")
    add_precision(parser)
    add_batch_sizes(parser, "1 and 64; the config's with --train")
    parser.add_argument(
        "--rounds",
        type=of(Count),
        default=5,
        help="turns of each contestant (default 5); at inference there are more on a machine that is not idle",
    )
    parser.add_argument("--times", type=of(Count), default=2, help="timed runs in a turn (default 2)")
    parser.add_argument("--csv", type=path, metavar="FILE", help="write the table there too")
    parser.add_argument(
        "--plot", type=path, metavar="FILE", help="draw latency ratio against MAC ratio, such as speed.png"
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Measure."""
    from ppeconv.benchmark.machine import facts
    from ppeconv.benchmark.plot import draw
    from ppeconv.benchmark.summary import fastest
    from ppeconv.benchmark.table import as_text, write_csv

    if not arguments.networks:
        raise UserError("there is nothing to measure; name networks with -c CONFIG or --run DIR")
    if len(set(arguments.networks)) < len(arguments.networks):
        raise UserError("a network is named twice; give each once")
    if arguments.train and arguments.plot:
        raise UserError("--plot is of inference; it does not go with --train")
    if arguments.no_stock and not arguments.train:
        raise UserError("--no-stock goes with --train")
    if arguments.train and arguments.precision != "float32":
        raise UserError("--precision is of inference; it does not go with --train")
    require_writable([arguments.csv], [arguments.plot])
    shared = {**facts(), **({} if arguments.train else {"form": arguments.form, "precision": arguments.precision})}
    shared["overrides"] = shlex.join(arguments.override)
    print(", ".join(f"{name} {value}" for name, value in shared.items() if value))
    rows = _training(arguments) if arguments.train else _inference(arguments)
    if arguments.csv:
        write_to(arguments.csv, lambda file: write_csv(rows, file, shared))
    if arguments.plot:
        write_to(arguments.plot, lambda file: draw(rows, file))
    print(as_text(rows))
    if not arguments.train and (lines := fastest(rows)):
        print("\nthe fastest runtime of each:", as_text(lines), sep="\n")


def _training(arguments: argparse.Namespace) -> list[Any]:
    from ppeconv.experiment.speed import speed_of_training

    if any(source == "run" for source, _ in arguments.networks):
        raise UserError("--train measures networks of configs; give -c instead of --run")
    configs = [config for _, config in arguments.networks]
    how = {"stock": not arguments.no_stock, "rounds": arguments.rounds, "times": arguments.times}
    return [
        row
        for batch_size in each(arguments.batch_sizes, [None])
        for row in speed_of_training(configs, arguments.override, batch_size=batch_size, **how)
    ]


def _inference(arguments: argparse.Namespace) -> list[Any]:
    from ppeconv.benchmark.inference import BATCH_SIZES, inference_speed
    from ppeconv.benchmark.lanes import warning
    from ppeconv.experiment import speed

    trained = all(source == "run" for source, _ in arguments.networks)
    runtimes = _runtimes(each(arguments.runtime, ["paddle"]), trained)
    make = {"config": speed.of_config, "run": speed.of_run}
    compared = [make[source](name, arguments.override) for source, name in arguments.networks]
    for network in compared:
        if uneven := network.uneven_convolutions(arguments.form):
            print(f"ppeconv: warning: {warning(network.name, uneven)}", file=sys.stderr)
    return inference_speed(
        compared,
        runtimes=runtimes,
        batch_sizes=each(arguments.batch_sizes, BATCH_SIZES),
        form=arguments.form,
        precision=arguments.precision,
        rounds=arguments.rounds,
        times=arguments.times,
    )


def _runtimes(names: list[str], trained: bool) -> list[str]:
    kinds = by_preference()
    if names == ["all"]:
        return [name for name, kind in kinds.items() if trained or not kind.quantizes]
    for name in names:
        if not RUNTIMES.knows(name):
            raise UserError(f"there is no runtime {name!r}{nearest(name, [*kinds, 'all'])}")
    return list(map(RUNTIMES.canonical, names))
