"""Reading pickles that hold arrays and plain values, and nothing else."""

from __future__ import annotations

import pickle
from typing import Any

from ppeconv.errors import UserError

_SAFE = {
    ("builtins", name)
    for name in ("tuple", "list", "dict", "set", "int", "float", "bool", "bytes", "str", "complex", "bytearray")
}
_SAFE |= {("collections", "OrderedDict"), ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
_SAFE |= {
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")
    for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
}


class PlainUnpickler(pickle.Unpickler):
    """Reads arrays and plain containers, and refuses with a UserError everything that could run code.

    It takes the arguments of `pickle.Unpickler`.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SAFE:
            raise UserError(
                f"this file wants to call {module}.{name}; only arrays and plain values are read, so it is not opened. "
                "Do not use it, or convert it to .safetensors where you trust it"
            )
        return super().find_class(module, name)
