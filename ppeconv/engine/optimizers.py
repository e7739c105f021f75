"""Optimizers with weight decay where it belongs.

Each is called with (scheduler, network). Common arguments: `clip_norm` bounds the norm of all gradients together;
`no_weight_decay_name` lists words, parameters whose name holds one are not decayed; with
`one_dim_param_no_weight_decay` biases and norm weights are not decayed either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import paddle
from paddle import nn
from paddle.optimizer.lr import LRScheduler

from ppeconv.domains import Decay, Epsilon, Positive, ShareOrNone
from ppeconv.registry import OPTIMIZERS
from ppeconv.schema import Section


class Regularizer(Section):
    """Weight decay added to the gradient."""

    name: Literal["L2"] = "L2"
    coeff: Decay


@OPTIMIZERS.register(name="Momentum")
def momentum(
    schedule: LRScheduler,
    model: nn.Layer,
    *,
    momentum: ShareOrNone = 0.9,
    use_nesterov: bool = False,
    regularizer: Regularizer | None = None,
    clip_norm: Positive | None = None,
    no_weight_decay_name: Sequence[str] = (),
    one_dim_param_no_weight_decay: bool = False,
) -> Any:
    """SGD with momentum."""
    decay = _coefficient(regularizer)
    groups = _groups(model, decay, no_weight_decay_name, one_dim_param_no_weight_decay)
    return paddle.optimizer.Momentum(
        schedule, momentum, groups, use_nesterov, weight_decay=decay, grad_clip=_clip(clip_norm)
    )


@OPTIMIZERS.register(name="Adam")
def adam(
    schedule: LRScheduler,
    model: nn.Layer,
    *,
    beta1: ShareOrNone = 0.9,
    beta2: ShareOrNone = 0.999,
    epsilon: Epsilon = 1e-8,
    regularizer: Regularizer | None = None,
    clip_norm: Positive | None = None,
    no_weight_decay_name: Sequence[str] = (),
    one_dim_param_no_weight_decay: bool = False,
) -> Any:
    """Adam, with weight decay in the gradient."""
    decay = _coefficient(regularizer)
    groups = _groups(model, decay, no_weight_decay_name, one_dim_param_no_weight_decay)
    return paddle.optimizer.Adam(schedule, beta1, beta2, epsilon, groups, decay, _clip(clip_norm))


@OPTIMIZERS.register(name="AdamW")
def adamw(
    schedule: LRScheduler,
    model: nn.Layer,
    *,
    beta1: ShareOrNone = 0.9,
    beta2: ShareOrNone = 0.999,
    epsilon: Epsilon = 1e-8,
    weight_decay: Decay = 0.01,
    clip_norm: Positive | None = None,
    no_weight_decay_name: Sequence[str] = (),
    one_dim_param_no_weight_decay: bool = False,
) -> Any:
    """Adam with decoupled weight decay."""
    spared = _spared(model, no_weight_decay_name, one_dim_param_no_weight_decay)
    names = {parameter.name for parameter in model.parameters() if not spared(parameter)}
    return paddle.optimizer.AdamW(
        schedule,
        beta1,
        beta2,
        epsilon,
        model.parameters(),
        weight_decay,
        apply_decay_param_fun=names.__contains__,
        grad_clip=_clip(clip_norm),
    )


def _coefficient(regularizer: Regularizer | None) -> float | None:
    return regularizer.coeff if regularizer else None


def _groups(model: nn.Layer, decay: float | None, words: Sequence[str], spare_vectors: bool) -> list[Any]:
    """The parameters, in two groups where some are spared from a decay."""
    spared = _spared(model, words, spare_vectors)
    without = [parameter for parameter in model.parameters() if spared(parameter)]
    if not decay or not without:
        return model.parameters()
    return [
        {"params": [parameter for parameter in model.parameters() if not spared(parameter)]},
        {"params": without, "weight_decay": 0.0},
    ]


def _spared(model: nn.Layer, words: Sequence[str], spare_vectors: bool) -> Callable[[paddle.Tensor], bool]:
    named = {id(parameter) for name, parameter in model.named_parameters() if any(word in name for word in words)}
    return lambda parameter: id(parameter) in named or (spare_vectors and parameter.ndim < 2)


def _clip(norm: float | None) -> nn.ClipGradByGlobalNorm | None:
    return nn.ClipGradByGlobalNorm(norm) if norm else None
