"""Options that several commands share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pydantic

from ppeconv.domains import Count, FilePath, Threads
from ppeconv.errors import UserError
from ppeconv.extras import present
from ppeconv.schema.values import from_yaml, listed
from ppeconv.schema.wording import words

if TYPE_CHECKING:
    from ppeconv.experiment import Experiment


ZOO = "zoo:NAME for weights that come with ppeconv (`ppeconv list pretrained`)"
"""What can be named in place of a run folder."""


class _Once(argparse.Action):
    """Keeps the value of an option that takes one, and refuses a second."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        given = vars(namespace).setdefault("given", set())
        if option_string and self.dest in given:
            parser.error(f"{option_string} is given twice; give one")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class CommandParser(argparse.ArgumentParser):
    """A parser whose complaints are UserErrors."""

    def __init__(self, **more: Any):
        super().__init__(**more)
        for name in (None, "store"):
            self.register("action", name, _Once)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help says what there is")


def of(domain: Any) -> Callable[[str], Any]:
    """What makes an option's text a value of a declared type, such as one of `ppeconv.domains`."""
    schema = pydantic.TypeAdapter(domain, config={"strict": True, "allow_inf_nan": False})

    def value(text: str) -> Any:
        try:
            return schema.validate_python(from_yaml(text, "the value"))
        except (pydantic.ValidationError, UserError):
            raise argparse.ArgumentTypeError(f"should be {words(domain)}; got {text!r}") from None

    return value


def path(text: str) -> str:
    """A file or folder that an option names."""
    try:
        return pydantic.TypeAdapter(FilePath).validate_python(text)
    except pydantic.ValidationError:
        raise argparse.ArgumentTypeError(f"should be {words(FilePath)}; got {text!r}") from None


def each(given: Sequence[Any] | None, default: Sequence[Any]) -> list[Any]:
    """What an option that may be repeated was given, once each, or the default."""
    return list(dict.fromkeys(given or default))


def require_writable(files: Sequence[str | None], pictures: Sequence[str | None] = ()) -> None:
    """Raise a UserError where `write_to` could not write what options name, before the long work; None is none."""
    for file in filter(None, (*files, *pictures)):
        place = Path(file)
        if place.is_dir():
            raise UserError(f"cannot write {file}: it is a folder")
        if not place.exists() and not os.access(place.parent, os.W_OK):
            raise UserError(f"cannot write {file}: there is no folder {place.parent} that can be written to")
    for file in filter(None, pictures):
        present("matplotlib", "train")
        from matplotlib.figure import Figure

        known, ending = Figure().canvas.get_supported_filetypes(), Path(file).suffix[1:].lower()
        if ending and ending not in known:
            raise UserError(f"cannot write {file}: pictures end in one of {', '.join(sorted(known))}; got {ending}")


def write_to(file: str, write: Callable[[str], None]) -> None:
    """Write a file that an option names, with a sentence where that cannot be done."""
    try:
        write(file)
    except (OSError, ValueError) as error:  # matplotlib refuses formats that it does not know with a ValueError
        raise UserError(f"cannot write {file}: {getattr(error, 'strerror', None) or error}") from None


def command_parser(name: str, description: str) -> argparse.ArgumentParser:
    """A parser with -o and --import."""
    parser = CommandParser(prog=f"ppeconv {name}", description=description)
    parser.add_argument(
        "-o",
        "--override",
        action="extend",
        nargs="+",
        default=[],
        metavar="Section.key=value",
        help="set a config value; may be repeated",
    )
    add_import(parser)
    return parser


def apart(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides that say what becomes of a run that its folder holds already, and the others."""
    keys = ("Global.checkpoints", "Global.overwrite")
    of_the_folder = [setting for setting in overrides if setting.partition("=")[0].strip() in keys]
    return of_the_folder, [setting for setting in overrides if setting not in of_the_folder]


def add_import(parser: argparse.ArgumentParser) -> None:
    """--import: what is registered outside of ppeconv."""
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a Python module first, such as one that registers operators of your own; may be repeated",
    )


def add_turns(parser: argparse.ArgumentParser, rounds: int) -> None:
    """How networks take turns: --threads and --rounds."""
    parser.add_argument(
        "--threads", type=of(Threads), metavar="N", help="CPU threads (default: $OMP_NUM_THREADS or all)"
    )
    parser.add_argument(
        "--rounds",
        type=of(Count),
        default=rounds,
        help=f"turns of each network (default {rounds}); on a machine that is not idle there are more",
    )


def add_search(parser: argparse.ArgumentParser, what: str) -> None:
    """What is looked for on this machine: --operators, --batch-size and --measure-again."""
    parser.add_argument(
        "--operators",
        action="extend",
        type=listed,
        metavar="NAME[,NAME]",
        help=f"only these{what} (default: every one that applies)",
    )
    parser.add_argument("--batch-size", type=of(Count), default=1, metavar="N", help="images in a call (default 1)")
    add_measure_again(parser)


def add_measure_again(parser: argparse.ArgumentParser) -> None:
    """--measure-again."""
    parser.add_argument(
        "--measure-again",
        action="store_true",
        help="forget what was measured before on this machine (~/.cache/ppeconv)",
    )


def add_sitting(parser: argparse.ArgumentParser, rounds: int) -> None:
    """How networks are measured beside each other: --runtime, --form, --threads and --rounds."""
    from ppeconv.deployment.runtimes import by_preference

    kinds = [name for name, kind in by_preference().items() if not kind.quantizes]
    parser.add_argument(
        "--runtime",
        action="extend",
        type=listed,
        metavar="RUNTIME[,RUNTIME]",
        help=f"{', '.join(kinds)}, several with commas (default: all that are installed); the fastest of each network "
        "counts",
    )
    parser.add_argument("--form", choices=["deployed", "trained"], default="deployed", help="as in export")
    add_turns(parser, rounds)


def add_precision(parser: argparse.ArgumentParser) -> None:
    """--precision, the number format that a runtime computes in."""
    from ppeconv.deployment.runtimes import by_precision, by_preference

    parser.add_argument(
        "--precision",
        choices=list(dict.fromkeys(it for kind in by_preference().values() for it in kind.precisions)),
        default="float32",
        help=f"bf16 ({', '.join(by_precision('bf16'))}; on CPUs that have it) is faster and less exact",
    )


def add_several(parser: Any, name: str, kind: Callable[[str], Any], metavar: str, words: str, **more: Any) -> None:
    """An option with one value or several, which add up where it is repeated."""
    parser.add_argument(name, action="extend", nargs="+", type=kind, metavar=metavar, help=words, **more)


def add_batch_sizes(parser: argparse.ArgumentParser, default: str) -> None:
    """--batch-size with one number or several."""
    words = f"images in a batch, one number or several (default: {default})"
    add_several(parser, "--batch-size", of(Count), "N", words, dest="batch_sizes")


def not_measured(refusals: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """A line for each runtime and reason why networks have no latency, of (runtime, reason, network)."""
    names: dict[tuple[str, str], dict[str, None]] = {}
    for runtime, reason, network in refusals:
        names.setdefault((runtime, reason), {})[network] = None
    for (runtime, reason), networks in names.items():
        yield f"not measured on {runtime}: {', '.join(networks)}: {reason}"


def add_trained(parser: argparse.ArgumentParser) -> None:
    """--run, or -c with Global.pretrained_model: what was trained."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--run", type=path, metavar="DIR", help=f"run folder, such as output/resnet18_spconv_cifar10, or {ZOO}"
    )
    source.add_argument(
        "-c",
        "--config",
        type=path,
        metavar="FILE",
        help="config; weights from -o Global.pretrained_model=PATH, else from the config's own run folder, else those "
        "of -o Arch.pretrained=zoo",
    )


def trained(arguments: argparse.Namespace) -> Experiment:
    """The experiment whose trained network the options mean."""
    from ppeconv.experiment import Experiment

    if arguments.run:
        return Experiment.open(arguments.run, arguments.override)
    return Experiment(arguments.config, arguments.override)


def name_unreadable(problems: Sequence[str]) -> int:
    """Say at the end which images were left out; returns the exit code that this means."""
    for problem in problems:
        print(f"ppeconv: left out: {problem}", file=sys.stderr)
    if problems:
        one = len(problems) == 1
        said = "1 image could not be read and is" if one else f"{len(problems)} images could not be read and are"
        print(f"ppeconv: error: {said} left out", file=sys.stderr)
    return 1 if problems else 0
