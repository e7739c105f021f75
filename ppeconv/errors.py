"""Errors that are meant for the user's eyes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from pydantic import ValidationError

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that change how a terminal shows others."""


class UserError(Exception):
    """Bad input: the message is a sentence that says what was got, what is allowed and what to do.

    What it quotes may come from a file of others; control characters are written out.
    """

    def __init__(self, message: str = ""):
        super().__init__(_UNSEEN.sub(lambda match: ascii(match[0])[1:-1], str(message)))


class WorkersLost(UserError):
    """A process that prepares batches has ended, perhaps because a signal reached it too."""


class Unsupported(UserError):
    """An operator was asked for a convolution it has no definition for."""


def nearest(word: str, allowed: Iterable[str], else_: str = "") -> str:
    """`"; did you mean 'x'?"` with the closest of the allowed words; when none is close what else is said, or all."""
    words = {str(name).lower(): str(name) for name in allowed}
    close = difflib.get_close_matches(str(word).lower(), words, n=3, cutoff=0.6)
    if close:
        return "; did you mean " + " or ".join(repr(words[key]) for key in close) + "?"
    if else_:
        return f"; {else_}"
    return "; allowed: " + ", ".join(words.values()) if words else ""


def first_line(error: Exception) -> str:
    """The first line of a library's message that says something, its kind where there is none.

    Of what pydantic found wrong it is the first place and what is wrong there: "facts.network: Field required".
    """
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
    return next((line for line in str(error).strip().splitlines() if line.strip()), type(error).__name__)
