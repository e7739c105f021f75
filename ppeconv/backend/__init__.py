"""Fast float32 training on x86 CPUs for every Paddle network in the process; off until enabled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .dispatch import Patches

_patches = Patches()


def enable() -> None:
    """Send convolutions, normalisation, pooling and what lies between them to the fast layers."""
    if not _patches.installed:
        _patches.install()


def disable() -> None:
    """Put every function of Paddle back."""
    _patches.remove()


def is_enabled() -> bool:
    """Whether the fast layers are in use."""
    return _patches.installed


@contextlib.contextmanager
def enabled() -> Iterator[None]:
    """The fast layers inside the block, what was before after it."""
    before = is_enabled()
    enable()
    try:
        yield
    finally:
        if not before:
            disable()


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """Stock Paddle inside the block, what was before after it."""
    before = is_enabled()
    disable()
    try:
        yield
    finally:
        if before:
            enable()
