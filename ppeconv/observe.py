"""Watching a network run: every dygraph operation, and which layers are under way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from types import BuiltinFunctionType, ModuleType
from typing import Any

import paddle
from paddle import Tensor, nn

from ppeconv import backend
from ppeconv.errors import UserError

ARITHMETIC = {
    **{f"__{prefix}{name}__": name for name in ("add", "sub", "mul", "truediv") for prefix in ("", "r")},
    "__matmul__": "matmul",
}
"""Methods of a tensor whose operations do not pass through `paddle._C_ops`, and what they do."""


@contextmanager
def operations(wrap: Callable[[str, Callable], Callable], methods: Sequence[str] = tuple(ARITHMETIC)) -> Iterator[None]:
    """While this is open, each operation `name` of Paddle is `wrap(name, operation)`, and no other layers stand in.

    Args:
        wrap: makes the stand-in; it is called once for every operation.
        methods: keys of `ARITHMETIC` that are wrapped too.
    """
    owned = [(paddle._C_ops, name, name) for name in dir(paddle._C_ops) if not name.startswith("_")]
    owned = [entry for entry in owned if callable(getattr(*entry[:2]))]
    arithmetic = ((paddle.Tensor, method, ARITHMETIC[method]) for method in methods)
    with backend.disabled(), ExitStack() as undo:
        for owner, attribute, name in [*owned, *_held(), *arithmetic]:
            operation = getattr(owner, attribute)
            setattr(owner, attribute, wrap(name, operation))
            undo.callback(setattr, owner, attribute, operation)
        yield


@cache
def _held() -> list[tuple[ModuleType, str, str]]:
    """Where modules of Paddle 3 hold operations themselves, so that they do not pass through `paddle._C_ops`.

    `paddle.tensor.matmul` is one: (module, attribute, operation).
    """
    files = [
        module
        for name, module in sys.modules.items()
        if name.startswith(("paddle.tensor", "paddle.nn", "paddle.linalg"))
    ]
    return [
        (module, attribute, value.__name__)
        for module in files
        for attribute, value in vars(module).items()
        if isinstance(value, BuiltinFunctionType) and value.__module__ in _HOMES
    ]


_HOLDERS = ("paddle.tensor", "paddle.nn", "paddle.linalg", "paddle.special", "paddle.incubate.nn")
_HOMES = {"paddle.base.libpaddle.pir.ops", "paddle.base.libpaddle.eager.ops"}
"""The names of those modules begin so; and where operations are made."""


@contextmanager
def layers(
    model: nn.Layer, enter: Callable[[nn.Layer], None], leave: Callable[[nn.Layer, Any], None]
) -> Iterator[None]:
    """`enter(layer)` before and `leave(layer, output)` after each layer's forward, while this is open."""

    def before(layer: nn.Layer, inputs: Any) -> None:
        enter(layer)

    def after(layer: nn.Layer, inputs: Any, output: Any) -> None:
        leave(layer, output)

    with ExitStack() as undo:
        for layer in {id(layer): layer for layer in model.sublayers(include_self=True)}.values():
            for hook in (layer.register_forward_pre_hook(before), layer.register_forward_post_hook(after)):
                undo.callback(hook.remove)
        yield


@contextmanager
def outputs(model: nn.Layer, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """While this is open, what layers of these paths gave when they ran last; raises KeyError for one that is not."""
    given: dict[str, Any] = {}
    found = dict(model.named_sublayers())
    with ExitStack() as undo:
        for name in names:

            def keep(layer: nn.Layer, inputs: Any, output: Any, name: str = name) -> None:
                given[name] = output

            undo.callback(found[name].register_forward_post_hook(keep).remove)
        yield given


def input_shapes(model: nn.Layer, some: Iterable[nn.Layer], image_shape: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Shapes [C, ...] of what enters layers, by their ids, for images [C, H, W]; those that do not run are left out."""
    shapes: dict[int, tuple[int, ...]] = {}

    def entered(layer: nn.Layer, inputs: Any) -> None:
        shapes[id(layer)] = tuple(inputs[0].shape[1:])

    with ExitStack() as undo:
        for layer in some:
            undo.callback(layer.register_forward_pre_hook(entered).remove)
        with stock(model), paddle.no_grad():
            model(paddle.zeros([1, *image_shape]))
    return shapes


def require_fit(model: nn.Layer, shape: Sequence[int], name: str | None = None) -> Any:
    """What a network in eval mode gives for one black image of a shape [C, H, W].

    Raises:
        UserError: the network, which is called `name` or by its class, does not take such images.
    """
    paths = {id(layer): path for path, layer in model.named_sublayers(include_self=True)}

    def refuse_empty(layer: nn.Layer, output: Any) -> None:
        if isinstance(output, Tensor) and 0 in output.shape:
            raise UserError(
                f"{_misfit(model, shape, name)}: they are too small, nothing is left of them behind its layer "
                f"{paths[id(layer)]}"
            )

    watching = layers(model, lambda layer: None, refuse_empty)
    with evaluating(model), watching, paddle.no_grad(), refusing_misfits(model, shape, name):
        return model(paddle.zeros([1, *shape]))


@contextmanager
def refusing_misfits(model: nn.Layer, shape: Sequence[int], name: str | None = None) -> Iterator[None]:
    """What Paddle's kernels raise inside the block becomes a UserError: the network does not take such images."""
    try:
        yield
    except (ValueError, OSError, RuntimeError, ArithmeticError) as error:
        reason = str(error).strip().partition("\n")[0].removeprefix("(InvalidArgument) ")
        raise UserError(f"{_misfit(model, shape, name)}: {reason}") from None


def _misfit(model: nn.Layer, shape: Sequence[int], name: str | None) -> str:
    return f"{name or type(model).__name__} does not take images of {list(shape)}"


@contextmanager
def evaluating(model: nn.Layer) -> Iterator[None]:
    """Eval mode inside the block; every layer's own mode after it."""
    training = [layer for layer in model.sublayers(include_self=True) if layer.training]
    model.eval()
    try:
        yield
    finally:
        for layer in training:
            layer.training = True


@contextmanager
def stock(model: nn.Layer) -> Iterator[None]:
    """Eval mode, run by Paddle's own layers, inside the block; what was before, after it."""
    with evaluating(model), backend.disabled():
        yield
