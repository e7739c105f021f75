"""Feeding a target with examples."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings

from tests.fuzz.targets import TARGETS, survives

_AT_ONCE = 500


def fuzz(name: str, examples: int | None = None, minutes: float | None = None, first: int = 0) -> Counter[str]:
    """Examples of a target until there were so many, or for so long; how many were taken and how many refused.

    Raises what hypothesis raises where one ends in anything but a result or a UserError.
    """
    target, counts, begin, round_ = TARGETS[name], Counter[str](), time.monotonic(), first
    with tempfile.TemporaryDirectory() as base:
        strategy = target.contents(Path(base))
        place = Path(base) / "place"

        def check(content: object) -> None:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            counts["taken" if survives(target, place / "file", content) else "refused"] += 1

        while True:
            run = settings(
                max_examples=examples or _AT_ONCE,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            )(seed(round_)(given(strategy)(check)))
            run()
            round_ += 1
            if minutes is None or time.monotonic() - begin > 60 * minutes:
                return counts
