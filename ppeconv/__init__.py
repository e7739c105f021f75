"""ppeconv: a PaddlePaddle model zoo in which the convolution operator is the thing you choose.

Importing this package does not import Paddle; that happens when one of its names is first used, so that the command
line can answer at once and set the number of threads before Paddle reads it.
"""

from __future__ import annotations

import importlib
import zlib  # before Paddle 2.6, whose own zlib would otherwise be called by Python's and crash
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "create_backbone": "models.create",
    "create_model": "models.create",
    "create_operator": "models.create",
    "list_backbones": "models.create",
    "list_operators": "models.create",
    "list_pretrained": "pretrained.weights",
    "Weights": "pretrained.weights",
    "replace_conv": "surgery.replace",
    "Rules": "surgery.rules",
    "Places": "surgery.rules",
    "recalibrate": "surgery.placement",
    "replace_pool": "surgery.placement",
    "change_branches": "branches.change",
    "count": "counting",
    "parameter_count": "layers.parameters",
    "advise": "choosing.advise",
    "slim": "slimming.slim",
    "Experiment": "experiment",
    "InProcess": "deployment.in_process",
    "Predictor": "deployment.predictor",
    "deploy": "deployment.rewrite",
    "export": "deployment.export",
    "register_operator": "registry",
    "register_backbone": "registry",
    "register_recalibration": "registry",
    "OPERATORS": "registry",
    "RECALIBRATIONS": "registry",
    "BACKBONES": "registry",
    "UserError": "errors",
}
__all__ = [*_HOMES, "__version__"]

if TYPE_CHECKING:
    from ppeconv.branches.change import change_branches
    from ppeconv.choosing.advise import advise
    from ppeconv.counting import count
    from ppeconv.deployment.export import export
    from ppeconv.deployment.in_process import InProcess
    from ppeconv.deployment.predictor import Predictor
    from ppeconv.deployment.rewrite import deploy
    from ppeconv.errors import UserError
    from ppeconv.experiment import Experiment
    from ppeconv.layers.parameters import parameter_count
    from ppeconv.models.create import create_backbone, create_model, create_operator, list_backbones, list_operators
    from ppeconv.pretrained.weights import Weights, list_pretrained
    from ppeconv.registry import (
        BACKBONES,
        OPERATORS,
        RECALIBRATIONS,
        register_backbone,
        register_operator,
        register_recalibration,
    )
    from ppeconv.slimming.slim import slim
    from ppeconv.surgery.placement import recalibrate, replace_pool
    from ppeconv.surgery.replace import replace_conv
    from ppeconv.surgery.rules import Places, Rules


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ppeconv' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ppeconv.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
