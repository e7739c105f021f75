"""Sittings kept on disk, so that nothing is measured twice on the same machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ppeconv import files
from ppeconv.benchmark import machine
from ppeconv.benchmark.networks import Network
from ppeconv.choosing.sittings import How, Named, Sitting, measure, missing
from ppeconv.errors import UserError, first_line

FORMAT = 2
"""Of the file, and of how is measured: with 1, idle threads could take time of the next turn."""
_SITTINGS = TypeAdapter(list[Sitting])


def cache_folder() -> Path:
    """The user's: $XDG_CACHE_HOME/ppeconv, else ~/.cache/ppeconv."""
    given = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return (given if given.is_absolute() else Path("~/.cache").expanduser()) / "ppeconv"


def depends_on(how: How, network: Any) -> dict[str, Any]:
    """What times depend on: the machine, versions, how is measured, and the plain network, by what it is told apart."""
    shared = {"threads": str(how.threads), "batch_size": how.batch_size, "form": how.form, "network": network}
    return {**machine.facts(), **shared}


class Kept:
    """The sittings of one network that were measured alike.

    Args:
        facts: what they depend on, see `depends_on`.
        folder: where files lie; `latency` in the user's cache when not given.
    """

    def __init__(self, facts: Mapping[str, Any], folder: Path | None = None):
        self.facts = dict(facts)
        name = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()[:16]
        self.file = (folder or cache_folder() / "latency") / f"{name}.json"

    def read(self) -> list[Sitting]:
        """What was kept; raises UserError where the file is damaged, which `write` replaces."""
        try:
            content = json.loads(files.read(self.file, files.TEXT))
            if (content["format"], content["facts"]) != (FORMAT, self.facts):
                raise ValueError("it is of other measurements")
            sittings = _SITTINGS.validate_python(content["sittings"])
            if not all(sitting.rows for sitting in sittings):
                raise ValueError("it has a sitting of nothing")
            return sittings
        except FileNotFoundError:
            return []
        except (OSError, ValueError, LookupError, TypeError, RecursionError, UserError) as error:
            raise UserError(
                f"the kept measurements in {self.file} cannot be read and are ignored ({first_line(error)})"
            ) from None

    def write(self, sittings: Sequence[Sitting]) -> None:
        """Keep these in place of what was kept, whole or not at all; raises UserError where that cannot be written."""
        content = {"format": FORMAT, "facts": self.facts, "sittings": [dataclasses.asdict(it) for it in sittings]}
        staged = self.file.with_name(f"{self.file.name}.{uuid.uuid4().hex}")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            staged.write_text(json.dumps(content, indent=1), "utf-8")
            staged.replace(self.file)
        except OSError as error:
            staged.unlink(missing_ok=True)
            raise UserError(f"measurements cannot be kept in {self.file}: {error.strerror or error}") from None


def measured_or_kept(
    kept: Kept,
    plain: Named,
    candidates: Sequence[Named],
    how: How,
    network: Callable[[Named], Network],
    say: Callable[[str], None],
    again: bool = False,
) -> list[Sitting]:
    """What was kept of as many rounds, and what is measured now of the candidates, which is kept sitting by sitting.

    Args:
        kept: the file.
        plain: the one beside which the others are measured.
        candidates: but for the plain one.
        how, network: see `measure`.
        say: gets lines on what is done.
        again: forget what was kept.
    """
    before: list[Sitting] = []
    if not again:
        try:
            before = kept.read()
        except UserError as error:
            say(str(error))
    found = [sitting for sitting in before if sitting.rounds >= how.rounds]
    shorter = [sitting for sitting in before if sitting.rounds < how.rounds]
    rest = missing(candidates, found, how)
    if len(rest) < len(candidates):
        times = sorted(sitting.measured for sitting in found)
        say(
            f"{len(candidates) - len(rest)} of {len(candidates)} were measured before, {times[0]} to {times[-1]} UTC, "
            f"and come from {kept.file}; --measure-again measures them anew"
        )
    for sitting in measure(plain, rest, found, how, network, say):
        found.append(sitting)
        try:
            kept.write([*shorter, *found])
        except UserError as error:
            say(str(error))
    return found
