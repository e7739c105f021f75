"""Ctrl-C, SIGTERM and SIGHUP: a command ends with one sentence; a training first finishes its step and saves."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ppeconv.errors import UserError, WorkersLost

PIPE = getattr(signal, "SIGPIPE", signal.SIGTERM)
"""What ends a program whose output nobody reads any more."""
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(BaseException):
    """A signal asked this process to end. No Exception, so that nothing takes it for a failure.

    Args:
        number: of the signal.
        advice: what the user can do now.
    """

    def __init__(self, number: int, advice: str = ""):
        self.number, self.advice = number, advice

    @property
    def exit_code(self) -> int:
        """What shells expect of a process that a signal has ended."""
        return 128 + self.number

    def __str__(self) -> str:
        name = "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name
        return "; ".join(part for part in (f"stopped by {name}", self.advice) if part)


class _Asked:
    """What signals have asked of this process: they are the process's own, and so is this."""

    number = 0
    waits = False


@contextmanager
def listening() -> Iterator[None]:
    """Signals raise `Stopped` meanwhile, or, within `waiting`, are kept for `check`; a second one ends at once.

    Signals that the process was started to ignore, as by nohup, stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a loader's worker: Ctrl-C reaches it too, and its owner ends it
            if number != signal.SIGINT:
                os._exit(128 + number)
        elif not _Asked.waits:
            _Asked.number = number
            raise Stopped(number)
        elif _Asked.number:
            os.write(2, b"ppeconv: ended at once, without saving\n")
            os._exit(128 + number)
        else:
            _Asked.number = number

    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    except Exception as error:
        if stopped := _behind(error):
            raise stopped from error
        raise
    finally:
        _Asked.number = 0
        for number, handler in before.items():
            signal.signal(number, handler)


def _behind(error: Exception) -> Stopped | None:
    """The signal for which Paddle's C++ code has an error of its own, as it was raised through it."""
    spoken = isinstance(error, UserError) and not isinstance(error, WorkersLost)
    return Stopped(_Asked.number) if _Asked.number and not spoken else None


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """Who stops this process meanwhile is told what to do then, unless what is stopped knows better."""
    try:
        yield
    except Stopped as stopped:
        stopped.advice = stopped.advice or advice
        raise
    except Exception as error:
        if signalled := _behind(error):
            signalled.advice = advice
            raise signalled from error
        raise


@contextmanager
def waiting() -> Iterator[None]:
    """Signals wait meanwhile until `check` is called."""
    before, _Asked.waits = _Asked.waits, True
    try:
        yield
    finally:
        _Asked.waits = before


def ask(number: int) -> None:
    """What a signal of that number does: end at once, or within `waiting` at the next `check`."""
    if not _Asked.waits:
        raise Stopped(number)
    _Asked.number = _Asked.number or number


def asked() -> int:
    """The number of the signal that waits, or 0."""
    return _Asked.number


def check() -> None:
    """End here if a signal waits."""
    if _Asked.number:
        raise Stopped(_Asked.number)
