"""Primitives run in series by one call."""

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


def test_one_execution_goes_from_place_to_place(each_loop):
    source, target = _arrays(4), _arrays(4)
    source[:] = np.arange(60).reshape(4, 15)
    execution = _turned(source, target)
    steps = []
    for number in (0, 2, 3):
        steps += [
            series.Move(execution, onednn.SRC, 0, 60 * number),
            series.Move(execution, onednn.DST, 1, 60 * (3 - number)),
            execution,
        ]
    run = series.Series(steps)
    for _ in range(2):
        source += 100
        run.run(source.ctypes.data, target.ctypes.data)
        for number in (0, 2, 3):
            found = target[3 - number].reshape(5, 3).T.ravel()
            np.testing.assert_array_equal(found, source[number])
    assert target[2, 1:].max() == 0


def test_what_comes_after_a_failure_does_not_run(each_loop):
    arrays = _arrays(3)
    run = series.Series([_turned(*arrays[:2]), _turned(arrays[0], arrays[2])])
    run._calls[0, 2] = 0  # no stream
    with pytest.raises(onednn.OneDNNError, match="status"):
        run.run()
    assert not arrays[2].any()


def test_the_executions_live_as_long_as_the_series(each_loop):
    arrays = _arrays(2)
    moved_alone = series.Move(_turned(*_arrays(2)), onednn.SRC, 0)
    run = series.Series([moved_alone, _turned(*arrays)])
    del moved_alone
    gc.collect()
    others = [_turned(*_arrays(2)) for _ in range(100)]
    run.run(arrays.ctypes.data)
    assert arrays[1].any()
    assert len(others) == 100


def test_where_memory_may_not_be_executed_python_makes_the_calls(monkeypatch):
    monkeypatch.setattr(series.mmap, "PROT_EXEC", 1 << 20)
    assert series._loop.__wrapped__() is series._one_by_one
