"""The present width of a network. It is a state of the network's layers; nothing is global."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import paddle
from paddle import Tensor, nn

from ppeconv import observe
from ppeconv.anywidth.layers import AnyWidthLayer
from ppeconv.anywidth.norms import CalibratedBatchNorm
from ppeconv.errors import UserError, nearest

KINDS = ("awn", "snet", "usnet")


@dataclass(frozen=True)
class Facts:
    """How a network was made to run at any width."""

    kind: str
    widths: tuple[float, ...]
    """Those of k-width training, widest first."""
    min_width: float
    """Narrowest width of training and evaluation."""

    def check(self) -> None:
        """Raise a UserError for what makes no sense."""
        require_kind(self.kind)
        for width in (*self.widths, self.min_width):
            require_width(width)
        if self.kind == "snet" and self.widths[0] != 1:
            raise UserError(f"the widths of an S-Net should hold 1, the whole network; got {list(self.widths)}")


def require_kind(kind: object) -> None:
    """Raise a UserError unless that is one of KINDS."""
    if kind not in KINDS:
        raise UserError(f"there is no any-width network of kind {kind!r}{nearest(str(kind), KINDS)}")


class _Until:
    """A width that lasts until the end of a `with` statement, where the one before comes back."""

    def __init__(self, model: nn.Layer, before: float):
        self.model, self.before = model, before

    def __enter__(self) -> nn.Layer:
        return self.model

    def __exit__(self, *problem: object) -> None:
        set_width(self.model, self.before)


def set_width(model: nn.Layer, width: float) -> _Until:
    """Run a network at a width in (0, 1] from now on; in a `with` statement, until its end.

    `model.at_width(width)` is the same.

    Raises:
        UserError: another number, or a network that `make_anywidth` has not converted.
    """
    require_width(width)
    before = width_of(model)
    for layer in any_width_layers(model):
        layer.set_width(float(width))
    return _Until(model, before)


def width_of(model: nn.Layer) -> float:
    """The present width."""
    layer = next(any_width_layers(model), None)
    if layer is None:
        raise UserError(f"{type(model).__name__} has one width only; make_anywidth(model) converts it")
    return layer.width


def any_width_layers(layer: nn.Layer) -> Iterator[AnyWidthLayer]:
    """The any-width layers of a network, each once; the parts of one are its own affair."""
    seen: set[int] = set()

    def walk(layer: nn.Layer) -> Iterator[AnyWidthLayer]:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        if isinstance(layer, AnyWidthLayer):
            yield layer
        else:
            for child in layer.children():
                yield from walk(child)

    yield from walk(layer)


def require_width(width: float) -> None:
    """Raise a UserError for what is no width."""
    if not isinstance(width, (int, float)) or not 0 < width <= 1:
        raise UserError(f"a width is a number above 0 and at most 1; got {width!r}")


@paddle.no_grad()
def calibrate(model: nn.Layer, images: Tensor | Iterable[Tensor], widths: Iterable[float] | None = None) -> None:
    """Measure the batch-norm statistics of a US-Net, exactly those of the given images taken as one batch.

    Args:
        model: a network of any kind; norms that keep statistics while they train are left alone.
        images: [N, C, H, W], or several such batches; all of them are in memory at once.
        widths: at which; the present one when not given.

    Departure from arXiv 1903.05134, whose code averages the statistics of several batches: these are exact.
    """
    images = images if isinstance(images, Tensor) else paddle.concat(list(images))
    with observe.evaluating(model), statistics_from("measure", model):
        for width in [width_of(model)] if widths is None else widths:
            with set_width(model, width):
                model(images)


@contextmanager
def statistics_from(mode: Literal["measure", "batch"], model: nn.Layer) -> Iterator[None]:
    """The norms of a US-Net measure their statistics, or use those of the batch, inside the block."""
    norms = [layer for layer in any_width_layers(model) if isinstance(layer, CalibratedBatchNorm)]
    for norm in norms:
        norm.mode = mode
    try:
        yield
    finally:
        for norm in norms:
            norm.mode = "use"
