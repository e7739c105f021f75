"""Primitives run in series by one call."""

import ctypes
import gc
import itertools

import numpy as np
import pytest

from ppeconv.cpu.library import onednn, series
from ppeconv.cpu.library.execution import reorder


@pytest.fixture(params=["compiled", "python"])
def each_loop(request, monkeypatch):
    if request.param == "python":
        monkeypatch.setattr(series, "_loop", lambda: series._one_by_one)


def _turned(source, target):
    """A copy of one [3, 5] array that lies turned in the other."""
    execution = reorder(onednn.dense([3, 5]), onednn.Layout([3, 5], [1, 3]))
    execution.place((source.ctypes.data, target.ctypes.data))
    return execution


def _arrays(count):
    arrays = np.zeros([count, 15], np.float32)
    arrays[0] = np.arange(15)
    return arrays


def test_each_reads_what_the_one_before_it_wrote(each_loop):
    arrays, expected = _arrays(4), np.arange(15)
    series.Series([_turned(*pair) for pair in itertools.pairwise(arrays)]).run()
    for found in arrays[1:]:
        expected = expected.reshape(3, 5).T.ravel()
        np.testing.assert_array_equal(found, expected)


def test_runs_again_on_what_lies_there_then(each_loop):
    arrays = _arrays(2)
    run = series.Series([_turned(*arrays)])
    for factor in (1, 7):
        arrays[0] = np.arange(15) * factor
        run.run()
        np.testing.assert_array_equal(arrays[1].reshape(5, 3).T.ravel(), arrays[0])


def test_what_comes_after_a_failure_does_not_run(each_loop):
    arrays = _arrays(3)
    broken, behind = _turned(*arrays[:2]), _turned(arrays[0], arrays[2])
    broken.call = (*broken.call[:1], ctypes.c_void_p(), *broken.call[2:])
    with pytest.raises(onednn.OneDNNError, match="status"):
        series.Series([broken, behind]).run()
    assert not arrays[2].any()


def test_the_executions_live_as_long_as_the_series(each_loop):
    arrays = _arrays(2)
    run = series.Series([_turned(*arrays)])
    gc.collect()
    others = [_turned(*_arrays(2)) for _ in range(100)]
    run.run()
    assert arrays[1].any()
    assert len(others) == 100


def test_where_memory_may_not_be_executed_python_makes_the_calls(monkeypatch):
    monkeypatch.setattr(series.mmap, "PROT_EXEC", 1 << 20)
    assert series._loop.__wrapped__() is series._one_by_one
