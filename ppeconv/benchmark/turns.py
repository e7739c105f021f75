"""Contestants that take turns, so that what slows the machine for a while slows all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ppeconv.errors import UserError


class Contestant:
    """A process that prepares one task and times it as often as asked.

    It reads one line of JSON, the task, and then numbers; it answers each number with the milliseconds of as many
    timed runs after one that is not timed.

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
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **(environment or {})}
        variables = {name: value for name, value in variables.items() if value is not None}
        self._process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
        )
        self._say(json.dumps(task))

    def milliseconds(self, times: int) -> list[float]:
        """The times of some runs; raises UserError with the process's own sentence if it cannot run its task."""
        self._say(str(times))
        answer = json.loads(self._process.stdout.readline() or '{"error": "a measuring process ended; see above"}')
        if isinstance(answer, dict):
            raise UserError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()

    def _say(self, line: str) -> None:
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise UserError("a measuring process could not be started; see above") from None


def take_turns(contestants: Mapping[str, Contestant], rounds: int, times: int) -> dict[str, list[float]]:
    """Milliseconds of every contestant, each asked `rounds` times for `times` runs; ends their processes."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    try:
        for _ in range(rounds):
            for name, contestant in contestants.items():
                taken[name] += contestant.milliseconds(times)
    finally:
        for contestant in contestants.values():
            contestant.close()
    return taken
