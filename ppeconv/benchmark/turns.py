"""Contestants that take turns, so that what slows the machine for a while slows all of them."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Hashable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from ppeconv.errors import UserError

Key = TypeVar("Key", bound=Hashable)

Turns = Sequence[Sequence[float]]
"""Milliseconds of a contestant's timed runs, turn by turn."""

IDLE_MS = 10
"""How long threads of Intel's OpenMP keep a core busy after a call; by default it is 200, the next one's whole turn."""
KNOWN_TO = 0.01
"""A time ratio's standard error, as a part of it, at which further rounds tell little more."""


class Contestant:
    """A process that prepares one task and times it as often as asked.

    It reads one line of JSON, the task, and then numbers; it answers each number with the milliseconds of as many
    timed runs after some that are not timed.

    Args:
        task: what to time; for a process of ppeconv `make`, the name of a function "module:function" that returns
            what is called, and the function's `arguments`.
        command: what to start, when it is not ppeconv's own worker.
        environment: variables set for the process; None unsets one.
    """

    def __init__(
        self,
        task: Mapping[str, Any],
        command: Sequence[str] = (sys.executable, "-W", "ignore", "-m", "ppeconv.benchmark.worker"),
        environment: Mapping[str, str | None] | None = None,
    ):
        own = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "KMP_BLOCKTIME": str(IDLE_MS)}
        wanted = {**os.environ, **own, **(environment or {})}
        variables = {name: value for name, value in wanted.items() if value is not None}
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variables,
            start_new_session=True,  # Ctrl-C is for who asks, and who asks ends it
        )
        self._requests, self._answers = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        self.peak_mib: float | None = None
        """Once it is closed, the most memory, in MiB, that its process held at a time: Python and Paddle's libraries,
        about the same for all, the weights, and what the runtime needs for one batch. Where Linux tells, else None."""
        self._say(json.dumps(task))

    def milliseconds(self, times: int) -> list[float]:
        """The times of some runs; raises UserError with the process's own sentence if it cannot run its task."""
        self._say(str(times))
        answer = json.loads(self._answers.readline() or '{"error": "a measuring process ended; see above"}')
        if isinstance(answer, dict):
            raise UserError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        self.peak_mib = _peak_mib(self._process.pid)
        with contextlib.suppress(BrokenPipeError):  # of a process that ended before it read all that was said
            self._requests.close()
        self._process.wait()

    def _say(self, line: str) -> None:
        try:
            self._requests.write(line + "\n")
            self._requests.flush()
        except BrokenPipeError:
            raise UserError("a measuring process could not be started; see above") from None


def drop_refusing(contestants: MutableMapping[Key, Contestant]) -> dict[Key, str]:
    """Let each run once; those that cannot are taken out and closed. Returns their reasons."""
    reasons = {}
    for name, contestant in list(contestants.items()):
        try:
            contestant.milliseconds(1)
        except UserError as error:
            reasons[name] = str(error)
            contestants.pop(name).close()
    return reasons


def take_turns(
    contestants: Mapping[Key, Contestant], rounds: int, times: int, stretch: int = 1
) -> dict[Key, list[list[float]]]:
    """The turns of every contestant, each asked `rounds` times for `times` runs; ends their processes.

    Args:
        contestants: by what they are called.
        rounds, times: see above.
        stretch: on a machine that does other things, too, two rounds and more become up to so many times as many, until
            each contestant's time ratio to the first is known to KNOWN_TO.
    """
    taken: dict[Key, list[list[float]]] = {name: [] for name in contestants}
    try:
        for done in range(stretch * rounds if rounds > 1 else rounds):
            if done >= rounds and _are_known(list(taken.values())):
                break
            for name, contestant in contestants.items():
                taken[name].append(contestant.milliseconds(times))
    finally:
        for contestant in contestants.values():
            contestant.close()
    return taken


def median_ms(turns: Turns) -> float:
    """Of all timed runs."""
    return statistics.median(itertools.chain.from_iterable(turns))


def time_ratio(turns: Turns, base: Turns) -> float:
    """How many times as long as another contestant: the median over the rounds of the ratio of the two turns' medians.

    What slows the machine for some rounds slows both, and the ratio of the medians of all runs would have it twice
    where it hits more turns of one than of the other.
    """
    return statistics.median(_ratios(turns, base))


def _ratios(turns: Turns, base: Turns) -> list[float]:
    return [statistics.median(own) / statistics.median(other) for own, other in zip(turns, base, strict=True)]


def _are_known(taken: Sequence[Turns]) -> bool:
    return all(_standard_error(_ratios(turns, taken[0])) <= KNOWN_TO for turns in taken)


def _standard_error(ratios: Sequence[float]) -> float:
    """Of their median, as a part of it; from the quartiles, which single disturbed rounds do not move."""
    lower, middle, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    deviation = (upper - lower) / 1.349 / middle  # as of normal noise
    return math.sqrt(math.pi / 2 / len(ratios)) * deviation


def _peak_mib(process: int) -> float | None:
    """Not getrusage, whose figure for a process begins with what its parent held when it started it."""
    try:
        lines = Path(f"/proc/{process}/status").read_text("utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)
