"""Which inference form of each operator is the fastest, measured layer by layer on the runtime that will run it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paddle import nn

from ppeconv import observe
from ppeconv.anywidth import narrow
from ppeconv.deployment.alone import alone
from ppeconv.deployment.rewrite import rewritable
from ppeconv.operators.base import ConvOperator


@dataclass(frozen=True)
class Tuned:
    """Layers of one geometry and input size, and what their forms take."""

    operator: ConvOperator
    input_shape: tuple[int, ...]
    """[C, H, W]"""
    layers: list[str]
    """Their names in the network."""
    milliseconds: dict[str, float]
    """Form -> median time of one call."""

    @property
    def kept(self) -> str:
        """The fastest form."""
        return min(self.milliseconds, key=self.milliseconds.__getitem__)

    def __str__(self) -> str:
        height, width = self.input_shape[1:]
        times = ", ".join(f"{form} {value:.3f} ms" for form, value in self.milliseconds.items())
        where = f"{type(self.operator).__name__} {self.operator.geometry} on {height}x{width}"
        return f"{where}: {times}; {self.kept} kept for {', '.join(self.layers)}"


def tune(
    model: nn.Layer, input_shape: Sequence[int], runtime: str = "paddle", batch: int = 1, threads: int = 1
) -> list[Tuned]:
    """Measure the inference forms of every operator that has several, each distinct layer and input size once.

    A layer is exported with each of its forms, see `alone`.

    Args:
        model: the network; it stays as it was.
        input_shape: [C, H, W] of an image.
        runtime: the name of one.
        batch, threads: of the measurement.
    """
    return [
        Tuned(operator, shape, names, _milliseconds(operator, shape, runtime, batch, threads))
        for operator, shape, names in _distinct(narrow(model), input_shape)
    ]


def forms_of(tuned: Iterable[Tuned]) -> dict[str, str]:
    """Layer -> the form kept for it, as `deploy` and `export` take it."""
    return {layer: row.kept for row in tuned for layer in row.layers}


def _distinct(model: nn.Layer, input_shape: Sequence[int]) -> list[tuple[ConvOperator, tuple[int, ...], list[str]]]:
    """Operators with several forms, the size of their input, and the names of all layers that are like them."""
    operators = {name: layer for name, layer in rewritable(model).items() if len(layer.forms) > 1}
    shapes = observe.input_shapes(model, operators.values(), input_shape)
    found: dict[tuple[str, tuple[int, ...]], tuple[ConvOperator, tuple[int, ...], list[str]]] = {}
    for name, operator in operators.items():
        if (shape := shapes.get(id(operator))) is not None:
            _, _, names = found.setdefault((repr(operator), shape), (operator, shape, []))
            names.append(name)
    return list(found.values())


def _milliseconds(
    operator: ConvOperator, shape: tuple[int, ...], runtime: str, batch: int, threads: int
) -> dict[str, float]:
    forms = dict.fromkeys(operator.forms, operator)
    return alone(forms, shape, runtime, batch, threads, {form: form for form in operator.forms})
