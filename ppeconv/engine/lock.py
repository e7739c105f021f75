"""One process at a time: a lock that ends with its process, however that ends."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from types import TracebackType

from ppeconv.errors import UserError

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]


class Busy(UserError):
    """Another process has the lock."""


class Lock:
    """Held from `take` on until the end of a `with` block, or of the process.

    The system holds it, not the file, which only says whose it is; a file that a crash left is free.

    Args:
        file: the lock; its folder has to exist when it is taken.
        busy: what another process is doing when it has the lock, such as "a training is under way in DIR".
        advice: what to do then.
    """

    def __init__(self, file: Path, busy: str, advice: str):
        self.file, self.busy, self.advice = file, busy, advice
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock; a second time does nothing.

        Raises:
            Busy: another process has it.
            UserError: the file cannot be written.
        """
        if self._descriptor is not None:
            return
        descriptor = self._locked()
        while not _is(descriptor, self.file):  # its owner deleted it when this process was about to lock it
            os.close(descriptor)
            descriptor = self._locked()
        with contextlib.suppress(OSError):  # a full disk
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self._descriptor = descriptor
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._let_go)  # or a worker that outlives its parent would hold it

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._descriptor is not None:
            try:
                with contextlib.suppress(OSError):
                    self.file.unlink()
            finally:
                self._let_go()

    def _locked(self) -> int:
        """The file, open and locked."""
        try:
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"cannot write {self.file}: {error.strerror}") from None
        try:
            _lock(descriptor)
        except BlockingIOError:
            owner = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise Busy(f"{self.busy} ({owner}); {self.advice}") from None
        return descriptor

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _lock(descriptor: int) -> None:
    """Lock an open file, where system and file system can; BlockingIOError says that another process has it."""
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        pass


def _is(descriptor: int, file: Path) -> bool:
    """Whether the open file is the one that has that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False
