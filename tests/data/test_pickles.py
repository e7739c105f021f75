"""Pickles that want more than to hold arrays and plain values."""

import io
import pickle
import struct
import time
from collections import OrderedDict

import numpy as np
import pytest

from ppeconv import UserError
from ppeconv.data.pickles import load_plain


class Calls:
    """Pickled as a call, with a state for what it gives."""

    def __init__(self, function, *arguments, state=None):
        self.made = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.made


def read(value, protocol=4):
    return load_plain(io.BytesIO(value if isinstance(value, bytes) else pickle.dumps(value, protocol)))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_values_come_back(protocol):
    shared = np.arange(6, dtype=np.float32).reshape(2, 3)
    value = {
        "arrays": [shared, shared.T, np.zeros((0, 4)), np.array(["ab", "c"]), np.asfortranarray(shared), shared > 2],
        "numbers": (1, 2.5, True, None, 3 + 4j, 2**100, np.float32(1.5), np.int64(7)),
        "texts": [b"bytes", bytearray(b"more"), "text", "\udcff"],
        "ordered": OrderedDict(a={1: {2, 3}}),
        "big-endian": np.array([1, 2], ">u2"),
    }
    found = read(value, protocol)
    for one, other in zip(found.pop("arrays"), value.pop("arrays"), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(found.pop("big-endian"), value.pop("big-endian"))
    assert found == value
    assert np.dtype("u2").isnative


def nested_tuples(depth):
    """A few hundred bytes that say 2 ** depth values."""
    value = ()
    for _ in range(depth):
        value = (value, value)
    return value


def nested_dicts(depth):
    value = {}
    for _ in range(depth):
        value = {"a": value, "b": value}
    return value


HUGE = 10**11
REFUSED = {
    "a call": Calls(print, "never"),
    "bytes of a length": Calls(bytes, HUGE),
    "a bytearray of a length": Calls(bytearray, HUGE),
    "an array of a shape": Calls(np.ndarray, (HUGE,)),
    "an array remade with a shape": Calls(np.core.multiarray._reconstruct, np.ndarray, (HUGE,), b"d"),
    "a number without its bytes": Calls(np.core.multiarray.scalar, np.dtype("V2000000000")),
    "objects": np.array([None, 1]),
    "records": np.zeros(2, "f4,f4"),
    "numbers that are addresses": Calls(np.dtype, "f8", False, True, state=(3, "<", None, None, None, -1, -1, 63)),
    "texts that grow": Calls(np.dtype, "S5", False, True, state=(3, "|", None, None, None, HUGE, 1, 0)),
    "numbers with fields": Calls(np.dtype, "f8", False, True, state=(3, "<", None, ("a",), {}, -1, -1, 0)),
    "a codec": Calls(__import__("_codecs").encode, "text", "zlib_codec"),
    "a state of a function": Calls(__import__("_codecs").encode, "text", "latin1", state={"a": 1}),
    "a tuple as a key": b"\x80\x02}" + pickle.dumps(nested_tuples(60), 2)[2:-1] + b"K\x01s.",
    "a tuple as a key of pairs": Calls(dict, [(nested_tuples(60), 1)]),
    "a tuple in a set": Calls(set, [nested_tuples(60)]),
    "shared tuples": nested_tuples(60),
    "shared dictionaries": nested_dicts(60),
    "a class with a state": b"cnumpy\nndarray\n(dS'a'\nI1\nsb.",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_could_run_or_fill_the_memory_is_refused(what, capsys):
    begin = time.perf_counter()
    with pytest.raises((UserError, TypeError), match=r"this file|takes no arguments"):
        read(REFUSED[what])
    assert time.perf_counter() - begin < 30, "it should not take for ever"
    assert capsys.readouterr().out == ""
    assert np.dtype("f4").isnative
    assert np.dtype("f4") == np.float32


@pytest.mark.parametrize("cut", [0, 1, 7, 50, -1])
def test_a_cut_pickle_is_an_error_not_a_hang(cut):
    with pytest.raises((EOFError, pickle.UnpicklingError, ValueError, IndexError, struct.error)):
        read(pickle.dumps({"a": np.arange(20)}, 4)[:cut])


@pytest.mark.parametrize("length", [0, 5, 7])
@pytest.mark.parametrize("shape", [(6,), (2, 3), (-6,), (2**63, 2), (2**32, 2**32), ("6",), [6]])
def test_an_array_is_as_long_as_its_content(shape, length):
    make = np.zeros(0).__reduce__()[0]
    state = (1, shape, np.dtype("u1"), False, bytes(length))
    with pytest.raises(UserError, match="an array that is damaged"):
        read({"a": Calls(make, np.ndarray, (0,), b"b", state=state)})
