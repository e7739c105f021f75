"""The process behind a Contestant: python -m ppeconv.benchmark.worker."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from ppeconv.benchmark.turns import IDLE_MS
from ppeconv.engine.startup import import_paddle
from ppeconv.errors import UserError

WARM_UP_SECONDS = 5 * IDLE_MS / 1000
"""Longer than the idle threads of the contestant before keep a core busy."""


def milliseconds(run: Callable[[], object], times: int) -> list[float]:
    """The times of some runs after WARM_UP_SECONDS of runs that are not timed, at least one."""
    taken, begin = [], time.perf_counter()
    run()
    while time.perf_counter() - begin < WARM_UP_SECONDS:
        run()
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(1000 * (time.perf_counter() - start))
    return taken


def serve() -> None:
    """Read the task and answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not end up among the answers
    import_paddle()
    task = json.loads(sys.stdin.readline())
    module, _, name = task["make"].partition(":")
    run = None
    for line in sys.stdin:
        try:
            run = run or getattr(importlib.import_module(module), name)(**task["arguments"])
            answer: Any = milliseconds(run, int(line))
        except UserError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve()
