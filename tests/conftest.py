"""Fixtures of the suite."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

from pathlib import Path

import numpy as np
import paddle
import pytest
from hypothesis import settings

from ppeconv import backend
from ppeconv.cpu.library import mkl

mkl.take_fast_path()  # as in the tools' processes, whose runs are compared with runs in this one
settings.register_profile("same cases every time", derandomize=True)
if not os.environ.get("PPECONV_NEW_CASES"):
    settings.load_profile("same cases every time")


@pytest.fixture
def data_root():
    """Folder of the real data sets; tests that need it are skipped without."""
    folder = os.environ.get("PPECONV_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data: set PPECONV_DATA to a folder with cifar-10-python.tar.gz, mnist/, fashion-mnist/")
    return Path(folder)


@pytest.fixture(autouse=True)
def _seeded():
    paddle.seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def _backend():
    """Every test begins with the layers that PPECONV_CPU_BACKEND names, stock Paddle's without it."""
    backend.select(os.environ.get(backend.VARIABLE, "paddle"))
