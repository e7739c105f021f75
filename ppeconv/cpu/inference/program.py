"""The operations of an exported program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle

from ppeconv.cpu.inference.graph import Value
from ppeconv.errors import UserError


@dataclass
class Operation:
    """One operation: Paddle's name of it, what it reads and gives, its settings."""

    name: str
    inputs: list[Any]
    """Values; lists of Values; None where an optional input is not given."""
    shapes: list[tuple[int, ...]]
    """Of what it gives."""
    settings: dict[str, Any]


class Program:
    """A program as paddle.jit.save writes it; iterating gives each operation and takes what it gives.

    Args:
        prefix: path of the exported files without their endings.

    Raises:
        UserError: it was written by Paddle 2, whose programs are of another kind.
    """

    def __init__(self, prefix: Path):
        layer = paddle.jit.load(str(prefix))
        program = layer.program()
        if not hasattr(program, "global_block") or not hasattr(program.global_block().ops[0], "operands_source"):
            raise UserError("the runtime onednn reads programs of Paddle 3; use the runtime paddle, or export again")
        self._weights = {value.name: value for value in [*layer.parameters(), *layer.buffers()]}
        self._layer, self._program = layer, program
        self._values: dict[int, Any] = {}

    def operations(self) -> Iterator[tuple[Operation, Any]]:
        """Each operation, and the function that takes what it gives: a list of Values, or of lists of them."""
        for native in self._program.global_block().ops:
            _, _, name = native.name().partition(".")
            results = native.results()

            def take(values: list[Any], results: Any = results) -> None:
                self._values.update({result.id: value for result, value in zip(results, values, strict=False)})

            if native.name() == "builtin.parameter":
                weight = self._weights[native.attrs()["parameter_name"]].numpy()
                take([Value(weight.shape, weight)])
            elif native.name() == "builtin.combine":
                take([[self._value(source) for source in native.operands_source()]])
            elif native.name() == "builtin.split":
                take(self._value(native.operand_source(0)))
            else:
                inputs = [self._value(source) for source in native.operands_source()]
                shapes = [_shape(result) for result in results]
                yield Operation(name, inputs, shapes, native.attrs()), take

    def _value(self, source: Any) -> Any:
        return self._values.get(source.id) if source.initialized() else None


def _shape(result: Any) -> tuple[int, ...]:
    try:
        return tuple(result.shape)
    except (AttributeError, TypeError, ValueError):  # a list of results
        return ()
