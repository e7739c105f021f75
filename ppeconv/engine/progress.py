"""How far a long piece of work is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

from ppeconv.engine import distributed

T = TypeVar("T", bound=tuple)
Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 10.0


def shows_bars() -> bool:
    """Whether standard output is a terminal on which a bar has room; some say that they have no columns."""
    try:
        return sys.stdout.isatty() and os.get_terminal_size(sys.stdout.fileno()).columns > 0
    except (OSError, ValueError):
        return False


def reported(batches: Iterable[T], total: int, head: str) -> Iterator[T]:
    """The batches as they come, and how many of them have been worked on.

    Args:
        batches: (images, ...) each.
        total: how many there are.
        head: what the work is, such as `[Eval][Epoch 3]`.
    """
    if not distributed.is_first():
        yield from batches
    elif shows_bars():
        from tqdm import tqdm

        yield from tqdm(batches, head, total, leave=False, unit="batch", dynamic_ncols=True, file=sys.stdout)
    else:
        yield from _in_lines(batches, total, head)


def worked_off(items: Sequence[Item], head: str, unit: str) -> Iterator[Item]:
    """Pieces of work as they come, and how many of them have been done.

    Args:
        items: the pieces.
        head: what the work is, such as `[Slim][Fit]`.
        unit: what a piece is, such as "layer".
    """
    if shows_bars():
        from tqdm import tqdm

        yield from tqdm(items, head, leave=False, unit=unit, dynamic_ncols=True, file=sys.stdout)
        return
    start = time.perf_counter()
    due = start + SECONDS_BETWEEN_LINES
    for number, item in enumerate(items, 1):
        yield item
        now = time.perf_counter()
        if now >= due:
            due = now + SECONDS_BETWEEN_LINES
            left = clock((now - start) / number * (len(items) - number))
            logging.getLogger("ppeconv").info(f"{head}[{unit}: {number}/{len(items)}]eta: {left}")


def _in_lines(batches: Iterable[T], total: int, head: str) -> Iterator[T]:
    images, start = 0, time.perf_counter()
    due = start + SECONDS_BETWEEN_LINES
    for number, batch in enumerate(batches, 1):
        yield batch
        images += len(batch[0])
        now = time.perf_counter()
        if now >= due:
            due = now + SECONDS_BETWEEN_LINES
            logging.getLogger("ppeconv").info(
                f"{head}[Iter: {number}/{total}]ips: {images / (now - start):.5f} samples/s, "
                f"eta: {clock((now - start) / number * (total - number))}"
            )


def clock(seconds: float) -> str:
    """As 1:02:03."""
    return str(timedelta(seconds=round(seconds)))
