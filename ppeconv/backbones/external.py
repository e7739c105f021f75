"""Networks that no file here defines: those of paddle.vision and paddleclas, by their names there, and Python's own."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import logging
import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from paddle import nn

from ppeconv.errors import UserError, nearest
from ppeconv.extras import install_hint

PADDLE_VISION, PADDLECLAS, PYTHON = "paddle.vision.", "paddleclas.", "python."


def is_external(name: str) -> bool:
    """Whether the name is another library's, such as `paddle.vision.resnext50_32x4d` or `paddleclas.ResNeXt50_32x4d`.

    `python.<class>` is what a config says of a network that a Python program has given itself.
    """
    return name.startswith((PADDLE_VISION, PADDLECLAS, PYTHON))


def create_external(name: str, *, class_num: int = 1000, **arguments: Any) -> nn.Layer:
    """The network of that name, without weights; `arguments` are passed on as they are."""
    if name.startswith(PYTHON):
        raise UserError(
            f"the network {name.removeprefix(PYTHON)} came from Python, and no config can make it; give it again: "
            f"ppeconv.Experiment(..., model={name.removeprefix(PYTHON)}())"
        )
    with _quiet():
        if name.startswith(PADDLE_VISION):
            build = partial(_builder(_paddle_vision(), name, PADDLE_VISION), num_classes=class_num)
        else:
            build = partial(_builder(_paddleclas(), name, PADDLECLAS), class_num=class_num)
        try:
            return build(**arguments)
        except TypeError as error:
            raise UserError(f"{name} does not take these arguments: {error}") from error


def _builder(networks: dict[str, Callable], name: str, prefix: str) -> Callable:
    short = name.removeprefix(prefix).removeprefix("models.")
    if short not in networks:
        raise UserError(f"{prefix.rstrip('.')} has no network {short!r}{nearest(short, networks)}")
    return networks[short]


def _paddle_vision() -> dict[str, Callable]:
    from paddle.vision import models

    return {name: getattr(models, name) for name in models.__all__}


def _paddleclas() -> dict[str, Callable]:
    """The networks of paddleclas, imported without what its top package drags in (faiss, OpenCV, a root logger)."""
    if "paddleclas" not in sys.modules:
        spec = importlib.util.find_spec("paddleclas")
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                "this network needs paddleclas, which is not installed; it supports Python 3.10 and 3.11; "
                + install_hint("paddleclas")
            )
        package = types.ModuleType("paddleclas")
        package.__path__ = list(spec.submodule_search_locations)
        metrics = types.ModuleType("paddleclas.ppcls.utils.metrics")
        vars(metrics)["__getattr__"] = lambda name: None  # no network uses them; they load scikit-learn and pandas
        sys.modules |= {package.__name__: package, metrics.__name__: metrics}
    importlib.import_module("paddleclas.ppcls.utils.logger").init_logger()
    logging.getLogger("ppcls").setLevel(logging.ERROR)
    backbones = importlib.import_module("paddleclas.ppcls.arch.backbone")
    return {
        name: value
        for name, value in vars(backbones).items()
        if callable(value) and not name.startswith("_") and inspect.getmodule(value) is not backbones
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """paddleclas prints while it is imported and takes over the root logger; neither reaches the user."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
