"""How far a long piece of work is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    images = 0

    def counted() -> Iterator[T]:
        nonlocal images
        for batch in batches:
            images += len(batch[0])
            yield batch

    if not distributed.is_first():
        yield from batches
    elif shows_bars():
        yield from _in_a_bar(batches, total, head, "batch")
    else:
        yield from _in_lines(counted(), total, head, "Iter", lambda seconds: f"ips: {images / seconds:.5f} samples/s, ")


def worked_off(items: Sequence[Item], head: str, unit: str) -> Iterator[Item]:
    """Pieces of work as they come, and how many of them have been done.

    Args:
        items: the pieces.
        head: what the work is, such as `[Slim][Fit]`.
        unit: what a piece is, such as "layer".
    """
    return (_in_a_bar if shows_bars() else _in_lines)(items, len(items), head, unit)


def _in_a_bar(items: Iterable[Item], total: int, head: str, unit: str) -> Iterator[Item]:
    from tqdm import tqdm

    yield from tqdm(items, head, total, leave=False, unit=unit, dynamic_ncols=True, file=sys.stdout)


def _in_lines(
    items: Iterable[Item], total: int, head: str, unit: str, rate: Callable[[float], str] = lambda seconds: ""
) -> Iterator[Item]:
    """`rate` says, of the seconds so far, how fast it goes."""
    start = time.perf_counter()
    due = start + SECONDS_BETWEEN_LINES
    for number, item in enumerate(items, 1):
        yield item
        now = time.perf_counter()
        if now >= due:
            due, seconds = now + SECONDS_BETWEEN_LINES, now - start
            left = clock(seconds / number * (total - number))
            logging.getLogger("ppeconv").info(f"{head}[{unit}: {number}/{total}]{rate(seconds)}eta: {left}")


def clock(seconds: float) -> str:
    """As 1:02:03."""
    return str(timedelta(seconds=round(seconds)))
