"""Files of PyTorch's `torch.save`, read without PyTorch and without running code.

Since PyTorch 1.6 they are a zip archive of a pickle, `NAME/data.pkl`, and of the raw numbers, `NAME/data/KEY`; before,
a row of pickles with the numbers behind them. The pickle holds tensors as calls of a few functions of `torch._utils`,
which are done here with numpy.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppeconv.data.pickles import PlainUnpickler, load_plain, require_small
from ppeconv.errors import UserError

_BEGINNING = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
"""How files from before PyTorch 1.6 begin."""


_STORAGES = {
    name: np.dtype(kind)
    for name, kind in {
        "DoubleStorage": "<f8",
        "FloatStorage": "<f4",
        "HalfStorage": "<f2",
        "BFloat16Storage": "<u2",
        "LongStorage": "<i8",
        "IntStorage": "<i4",
        "ShortStorage": "<i2",
        "CharStorage": "i1",
        "ByteStorage": "u1",
        "BoolStorage": "?",
    }.items()
}


@dataclass
class _Storage:
    numbers: np.ndarray


Find = Callable[[str, np.dtype, int], np.ndarray]
"""(key, number type, count) -> the numbers of a storage."""


def is_torch_file(payload: bytes) -> bool:
    """Whether a file's content is what `torch.save` writes."""
    return payload.startswith((b"PK\x03\x04", _BEGINNING))


def read_torch(payload: bytes) -> Any:
    """What was saved, with tensors as arrays; the bits of a bfloat16 are a uint16.

    Raises:
        UserError: it holds more than tensors and plain values.
    """
    return require_small(_read_rows(payload) if payload.startswith(_BEGINNING) else _read_archive(payload))


def _read_archive(payload: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        names = archive.namelist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise UserError("it is a compressed zip archive, and torch.save compresses nothing")
        root = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")), None)
        if root is None or any(name.startswith(f"{root}code/") for name in names):
            raise UserError("it is a zip archive, but not of tensors that torch.save wrote")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise UserError("its numbers are in another byte order than this machine's")

        def find(key: str, kind: np.dtype, count: int) -> np.ndarray:
            return np.frombuffer(archive.read(f"{root}data/{key}"), kind, count)

        return _TensorUnpickler(io.BytesIO(archive.read(f"{root}data.pkl")), find).load()


def _read_rows(payload: bytes) -> Any:
    """Magic number, version, system, content, keys; then for each key the count and the numbers.

    The numbers follow the tensors that show them, so that the content is read twice: to learn of the storages, and to
    make the tensors.
    """
    stream, kinds = io.BytesIO(payload), {}

    def announce(key: str, kind: np.dtype, count: int) -> np.ndarray:
        if not 0 <= count * kind.itemsize <= len(payload):
            raise ValueError(f"{count} numbers announced in {len(payload)} bytes")
        kinds[key] = kind
        return np.zeros(count, kind)

    for _ in range(3):
        load_plain(stream)
    begin = stream.tell()
    _TensorUnpickler(stream, announce).load()
    numbers = {}
    for key in load_plain(stream):
        count = int.from_bytes(stream.read(8), "little")
        numbers[key] = np.frombuffer(stream.read(count * kinds[key].itemsize), kinds[key], count)
    stream.seek(begin)
    return _TensorUnpickler(stream, lambda key, kind, count: numbers[key]).load()


class _TensorUnpickler(PlainUnpickler):
    """Reads tensors too; `find` gets the numbers that they show."""

    def __init__(self, stream: io.BytesIO, find: Find):
        super().__init__(stream)
        self.find = find

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name in _REBUILD:
            return _REBUILD[name]
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch", "Size"):
            return tuple
        return super().find_class(module, name)

    def persistent_load(self, identity: Any) -> _Storage:
        what, kind, key, _device, count, *view = identity
        if what != "storage" or kind not in _STORAGES.values() or any(view):
            raise UserError(f"its tensors are stored as {identity[:2]!r}, which is not known here")
        return _Storage(self.find(key, kind, count))


def _tensor(storage: _Storage, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any) -> np.ndarray:
    item = storage.numbers.itemsize
    steps = [step * item for step in stride]
    # It checks the bounds.
    view: np.ndarray = np.ndarray(tuple(size), storage.numbers.dtype, storage.numbers, offset * item, steps)
    return np.ascontiguousarray(view).reshape(size)


def _parameter(tensor: np.ndarray, *_: Any) -> np.ndarray:
    return tensor


_REBUILD = {"_rebuild_tensor": _tensor, "_rebuild_tensor_v2": _tensor, "_rebuild_parameter": _parameter}
