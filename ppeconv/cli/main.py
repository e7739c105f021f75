"""Dispatch to the commands.

Exit codes: 0, done; 1, done but for images that cannot be read, which are named at the end; 2, bad input, said in one
sentence; 130, 143, 129, stopped by Ctrl-C, SIGTERM, SIGHUP; 141, ended as nobody reads the output any more.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence

from ppeconv.engine.interrupt import PIPE, Stopped, listening
from ppeconv.engine.startup import import_paddle
from ppeconv.errors import UserError

COMMANDS = {
    "train": "train a network",
    "eval": "evaluate a trained network",
    "export": "export a trained network",
    "predict": "classify images with an exported network",
    "benchmark": "measure speed",
    "advise": "say which operator to take for a time",
    "slim": "make a trained network fast enough",
    "compare": "trained networks beside each other, accuracy and speed",
    "detect": "train and use detectors of PaddleDetection",
    "list": "list operators, backbones and configs",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] not in COMMANDS:
        return _usage(arguments)
    _prepare_console()
    try:
        with listening():
            command = importlib.import_module(f"ppeconv.cli.{arguments[0]}")
            options = command.parser().parse_args(arguments[1:])
            import_paddle()
            for module in getattr(options, "modules", []):
                _import_module(module)
            code = command.run(options) or 0
            print(end="", flush=True)
            return code
    except Stopped as stopped:
        print(f"ppeconv: {stopped}", file=sys.stderr)
        if stopped.number == PIPE:
            _drop_output()
        return stopped.exit_code
    except UserError as error:
        print(f"ppeconv: error: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(
            f"ppeconv: error: there is not enough memory ({str(error).partition(', error code')[0] or 'no more'}); "
            "lower the batch size, the image size or the width",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _drop_output()
        return Stopped(PIPE).exit_code
    except OSError as error:
        if error.filename is not None or error.errno != errno.ENOSPC:
            raise
        _drop_output()
        print(f"ppeconv: error: cannot write the output: {error.strerror}", file=sys.stderr)
        return 2


def _drop_output() -> None:
    """Let nothing that is still to be written fail once more when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _prepare_console() -> None:
    """Lines arrive one by one in a pipe too; a console that is not UTF-8 shows what it lacks as its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def _usage(arguments: Sequence[str]) -> int:
    asked = bool(arguments) and arguments[0] in ("-h", "--help")
    lines = ["usage: ppeconv COMMAND ..., with one of these commands (COMMAND --help tells more):"]
    lines += [f"  {name:<9} {what}" for name, what in COMMANDS.items()]
    print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


def _import_module(name: str) -> None:
    """Import a user's module, from the present folder too."""
    sys.path.insert(0, os.getcwd())
    try:
        importlib.import_module(name.removesuffix(".py"))
    except ImportError as error:
        raise UserError(
            f"--import {name}: {error}; give a module's name that Python finds from {os.getcwd()}"
        ) from None
