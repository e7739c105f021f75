"""How a process of ppeconv's own begins: Paddle imported with all cores and without a word."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator

from ppeconv.errors import UserError
from ppeconv.extras import install_hint, installed


def import_paddle() -> None:
    """Import Paddle with all cores and without its warnings; raises UserError where it is not installed."""
    _use_all_cores()
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", module="paddle")
    if not installed("paddle"):
        raise UserError(f"PaddlePaddle is not installed; {install_hint('cpu')}; for a GPU build {install_hint('gpu')}")
    handlers = list(logging.getLogger().handlers)
    with contextlib.redirect_stderr(io.StringIO()), _own_handler(signal.SIGTERM):
        importlib.import_module("paddle").disable_signal_handler()
    logging.getLogger().handlers[:] = handlers  # Paddle shows every library's notes on the screen


@contextlib.contextmanager
def _own_handler(number: int) -> Iterator[None]:
    """Paddle takes SIGTERM for a fatal error when it is imported; afterwards it means what it meant before."""
    before = signal.getsignal(number)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, before)


def _use_all_cores() -> None:
    """Paddle reads the number of threads when it is imported; a distributed launcher gives each process its own."""
    if "PADDLE_TRAINER_ID" in os.environ:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(cores))
