"""Errors that are meant for the user's eyes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: the message is a sentence that says what was got, what is allowed and what to do."""


class WorkersLost(UserError):
    """A process that prepares batches has ended, perhaps because a signal reached it too."""


class Unsupported(UserError):
    """An operator was asked for a convolution it has no definition for."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` with the closest of the allowed words, or their list when none is close."""
    words = {str(name).lower(): str(name) for name in allowed}
    close = difflib.get_close_matches(str(word).lower(), words, n=3, cutoff=0.6)
    if close:
        return "; did you mean " + " or ".join(repr(words[key]) for key in close) + "?"
    return "; allowed: " + ", ".join(words.values()) if words else ""


def first_line(error: Exception) -> str:
    """The first line of a library's message that says something, its kind where there is none."""
    return next((line for line in str(error).strip().splitlines() if line.strip()), type(error).__name__)
