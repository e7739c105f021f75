"""Networks in paddle.vision's style: `from ppeconv.models import resnet18, resnet18_sp; resnet18_sp(num_classes=10)`.

A name is a backbone's, in lower case, and behind an underscore that of an operator if one is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from paddle import nn

from ppeconv.errors import UserError
from ppeconv.models.create import create_model
from ppeconv.registry import BACKBONES, OPERATORS


def _create(backbone: str, operator: str | None, num_classes: int | None = None, **arguments: Any) -> nn.Layer:
    classes: dict[str, Any] = {} if num_classes is None else {"class_num": num_classes}
    return create_model(backbone, operator=operator, **classes, **arguments)


def __getattr__(name: str) -> Callable[..., nn.Layer]:
    backbone, _, operator = name.partition("_")
    try:
        return partial(_create, BACKBONES.canonical(backbone), OPERATORS.canonical(operator) if operator else None)
    except UserError as error:
        raise AttributeError(f"module 'ppeconv.models' has no {name!r}: {error}") from None
