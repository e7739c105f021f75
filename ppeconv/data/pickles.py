"""Reading pickles that hold arrays and plain values, and nothing else."""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import IO, Any

import numpy as np

from ppeconv.errors import UserError

_MOST = 5_000_000
"""Values that a file may hold once what it shares in several places is written out; a few bytes can say billions."""
_NUMBERS_AND_TEXTS = "biufcSU"
_ORDERS = ("<", ">", "|", "=", b"<", b">", b"|", b"=")
_KEYS = (str, bytes, int, float, type(None))


def load_plain(stream: IO[bytes], **options: Any) -> Any:
    """The arrays and plain values of a pickle.

    Args:
        stream: where it begins; afterwards where it has ended.
        options: those of `pickle.Unpickler`.

    Raises:
        UserError: it wants to call something, or holds more than a file of its kind can.
    """
    return require_small(PlainUnpickler(stream, **options).load())


def require_small(content: Any) -> Any:
    """What was read, unless walking through it would take for ever."""
    left, waiting = _MOST, [content]
    while waiting:
        value = waiting.pop()
        inner = (
            [*value.keys(), *value.values()]
            if isinstance(value, dict)
            else value
            if isinstance(value, (list, tuple, set))
            else ()
        )
        left -= 1 + len(inner)
        if left < 0:
            raise UserError(f"this file holds more than {_MOST:,} values, which no file of its kind does")
        waiting += inner
    return content


_Unpickler: Any = pickle._Unpickler  # the one in Python, whose steps can be watched


class PlainUnpickler(_Unpickler):
    """Reads arrays and plain containers, and refuses with a UserError everything that could run code.

    Keys of dictionaries and members of sets are texts, bytes or numbers: of other things a hash may take for ever. A
    state is given to what was made here alone. It takes the arguments of `pickle.Unpickler`.
    """

    dispatch = dict(_Unpickler.dispatch)

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._kinds: list[np.dtype] = []

    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module  # its name in Python 2 and old protocols
        found = self._kind if (module, name) == ("numpy", "dtype") else _KNOWN.get((module, name))
        if found is None:
            raise UserError(
                f"this file wants to call {module}.{name}; only arrays and plain values are read, so it is not opened. "
                "Do not use it, or convert it to .safetensors where you trust it"
            )
        return found

    def _kind(self, name: str, *_: Any) -> np.dtype:
        """A number type that is this file's own: numpy's are one for the whole process."""
        if not isinstance(name, str):
            raise UserError(f"this file has a {type(name).__name__} as the name of a number type")
        kind = np.dtype(name, False, True)
        if kind.kind not in _NUMBERS_AND_TEXTS or kind.names or kind.subdtype:
            raise UserError(f"this file has arrays of {kind}; only numbers and texts are read")
        self._kinds.append(kind)
        return kind

    def load_build(self) -> None:
        target, state = self.stack[-2:]
        if any(target is kind for kind in self._kinds):
            _require_order_alone(target, state)
            super().load_build()
        elif isinstance(target, np.ndarray):
            _require_full(state)
            super().load_build()
        elif isinstance(target, OrderedDict):  # PyTorch's have attributes, which are not needed
            self.stack.pop()
        else:
            raise UserError(f"this file has a state for a {type(target).__name__}; it is not opened")


def _watched(opcode: bytes, keys: Callable[[list[Any]], Iterable[Any]]) -> Callable[[PlainUnpickler], None]:
    """The step of an opcode, before which the keys that lie on the stack are looked at."""

    def step(unpickler: PlainUnpickler) -> None:
        _require_keys(keys(unpickler.stack))
        _Unpickler.dispatch[opcode[0]](unpickler)

    return step


PlainUnpickler.dispatch |= {pickle.BUILD[0]: PlainUnpickler.load_build}
PlainUnpickler.dispatch |= {
    opcode[0]: _watched(opcode, keys)
    for opcode, keys in (
        (pickle.SETITEM, lambda stack: stack[-2:-1]),
        (pickle.SETITEMS, lambda stack: stack[::2]),
        (pickle.DICT, lambda stack: stack[::2]),
        (pickle.ADDITEMS, lambda stack: stack),
        (pickle.FROZENSET, lambda stack: stack),
    )
}


def _require_order_alone(kind: np.dtype, state: Any) -> None:
    """Of the state of a number type the order of its bytes may be its own: numpy believes all the rest, such as that
    numbers are addresses, and arrays that have the type already would be of another size."""
    known = [(3,), _ORDERS, (None,), (None,), (None,), (-1, kind.itemsize), (-1, kind.alignment), (kind.flags,)]
    fits = isinstance(state, tuple) and len(state) == len(known)
    if not fits or any((type(it), it) not in [(type(e), e) for e in own] for it, own in zip(state, known, strict=True)):
        raise UserError(f"this file has a state for the number type {kind} that numpy does not write; it is not opened")


def _require_full(state: Any) -> None:
    """The state of an array has as many bytes as its shape says: the product of its lengths may be beyond numpy's."""
    known: list[Any] = [object, tuple, np.dtype, object, (bytes, bytearray, str)]
    fits = isinstance(state, tuple) and len(state) == len(known)
    fits = fits and all(isinstance(it, kind) for it, kind in zip(state, known, strict=True))
    lengths = state[1] if fits else [None]
    if not all(type(length) is int and length >= 0 for length in lengths) or (
        math.prod(lengths) * state[2].itemsize != len(state[4])
    ):
        raise UserError("this file has an array that is damaged; it is not opened")


def _require_keys(keys: Iterable[Any]) -> None:
    for key in keys:
        if not isinstance(key, _KEYS):
            raise UserError(f"this file has a {type(key).__name__} as a key, where texts and numbers are read")


class _Array:
    """Stands for numpy.ndarray, which may not be called: it would make arrays of any size."""


def _reconstruct(kind: type, shape: tuple[int, ...], code: bytes) -> np.ndarray:
    """An array without elements, which gets its own by its state."""
    if kind is not _Array or shape != (0,):
        raise UserError("this file makes an array otherwise than numpy does; it is not opened")
    return np.zeros(shape, np.int8)


def _scalar(kind: np.dtype, content: bytes = b"") -> Any:
    if len(content) != kind.itemsize:
        raise UserError(f"this file has a number of {len(content)} bytes where {kind} takes {kind.itemsize}")
    return np.frombuffer(content, kind)[0]


def _array_of(content: Any, kind: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(content, kind).reshape(shape, order=order)  # type: ignore[call-overload]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise UserError(f"this file asks for the text encoding {encoding!r}, where latin1 is expected")
    return text.encode(encoding)


def _content_of(kind: type) -> Callable[..., Any]:
    """bytes or bytearray, of a content and not of a length."""

    def make(content: Any = b"", encoding: str = "latin1") -> Any:
        if isinstance(content, int):
            raise UserError(f"this file asks for {kind.__name__} of {content} zeros; it is not opened")
        return kind(_encode(content, encoding) if isinstance(content, str) else content)

    return make


def _pairs_as(kind: type) -> Callable[..., Any]:
    """dict or OrderedDict, its keys looked at."""

    def make(pairs: Iterable[Any] = ()) -> Any:
        pairs = list(pairs.items() if isinstance(pairs, dict) else pairs)
        _require_keys(key for key, _ in pairs)
        return kind(pairs)

    return make


def _set(members: Iterable[Any] = ()) -> set[Any]:
    members = list(members)
    _require_keys(members)
    return set(members)


_KNOWN: dict[tuple[str, str], Any] = {
    **{("builtins", kind.__name__): kind for kind in (tuple, list, int, float, bool, str, complex)},
    **{("builtins", kind.__name__): _content_of(kind) for kind in (bytes, bytearray)},
    ("builtins", "dict"): _pairs_as(dict),
    ("builtins", "set"): _set,
    ("collections", "OrderedDict"): _pairs_as(OrderedDict),
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encode,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _array_of),
        )
    },
}
