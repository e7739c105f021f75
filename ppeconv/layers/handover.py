"""What layers of a network hand over to the layer that takes their place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import paddle
from paddle import Tensor, nn

from ppeconv.layers.parameters import NORMS, own_parameters

_HOOKS_BEFORE = ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs_flag")
_HOOKS_BEHIND = (
    "_forward_post_hooks",
    "_forward_post_hooks_with_kwargs_flag",
    "_forward_post_hooks_always_called",
)
"""Attributes of a layer; Paddle 2 has only the first of each."""


def hand_over(old: Sequence[nn.Layer], new: nn.Layer) -> None:
    """Give a layer what its predecessors had: mode, device, number format, and what optimizers know of parameters.

    That is whether they are trained, their learning rate factor, regulariser, clipping and averaging. A parameter named
    bias takes them from the last bias of `old` and all others from the last weight; a factor of its own is multiplied
    and a regulariser of its own kept. What `new` shares with `old` stays as it is, and `old` is not touched.

    Args:
        old: the layers, in the order in which they run.
        new: takes their place; see `hand_over_hooks` for the hooks.
    """
    fit_in(new, any(layer.training for layer in old), _parameters(old), shared=old)
    sources, known = _sources(old), {id(parameter) for parameter in _parameters(old)}
    if not sources:
        return
    for layer in _fresh(new, old):
        for name, parameter in own_parameters(layer).items():
            if id(parameter) not in known:
                _take_attributes(parameter, sources["bias" if name == "bias" else "weight"])
        for buffer in layer._buffers.values():
            if buffer is not None and not buffer.stop_gradient:  # one that learns, such as the proxies of masks
                buffer.stop_gradient = sources["weight"].stop_gradient


def fit_in(new: nn.Layer, training: bool, like: Sequence[Tensor], shared: Sequence[nn.Layer] = ()) -> None:
    """Bring a new layer into a mode, and to the device and number format of the first of some parameters.

    Norms stay in float32 where that is float16 or bfloat16, as Paddle computes them so. What lies in `shared` stays.
    """
    reference = next((value for value in like if value.is_floating_point()), None)
    for layer in _fresh(new, shared):
        layer.training = training
        if reference is not None:
            half = reference.dtype in (paddle.float16, paddle.bfloat16)
            kind = paddle.float32 if half and isinstance(layer, NORMS) else reference.dtype
            layer._to_impl(device=_device(reference), dtype=kind, include_sublayers=False, floating_only=True)


def identity_like(layer: nn.Layer) -> nn.Identity:
    """What stands where a layer was, in its mode."""
    identity = nn.Identity()
    fit_in(identity, layer.training, [])
    return identity


def hand_over_hooks(old: Sequence[nn.Layer], new: nn.Layer) -> None:
    """Move the hooks before the first of `old` and behind the last to `new`; handles got for them still remove them.

    Not those that make weights, such as weight norm's: the new layer has its weights for good. See `lost`.
    """
    for layer in old:
        for key in [key for key, hook in layer._forward_pre_hooks.items() if _makes_weights(hook)]:
            del layer._forward_pre_hooks[key]
    for layer, names in ((old[0], _HOOKS_BEFORE), (old[-1], _HOOKS_BEHIND)):
        for name in names:
            if hasattr(layer, name):
                setattr(new, name, getattr(layer, name))


def copy_hooks(old: nn.Layer, new: nn.Layer) -> None:
    """Give `new` the hooks of a layer that keeps its own."""
    for name in (*_HOOKS_BEFORE, *_HOOKS_BEHIND):
        if hasattr(old, name):
            setattr(new, name, getattr(old, name).copy())


def lost(old: Sequence[nn.Layer]) -> list[str]:
    """What of these layers cannot be handed over to a single one, each in a few words."""
    found = []
    if any(makes_weights(layer) for layer in old):
        found.append("weight norm or another hook that makes weights is dropped")
    inner = [layer._forward_post_hooks for layer in old[:-1]] + [layer._forward_pre_hooks for layer in old[1:]]
    if any(not _makes_weights(hook) for hooks in inner for hook in hooks.values()):
        found.append("hooks between the replaced layers are dropped")
    if len({_attributes(value) for value in _parameters(old, "weight")}) > 1:
        found.append("of different parameter attributes those of the last layer are kept")
    return found


def makes_weights(layer: nn.Layer) -> bool:
    """Whether a hook computes the weights of a layer, as those of weight norm and spectral norm do."""
    return any(_makes_weights(hook) for hook in layer._forward_pre_hooks.values())


@paddle.no_grad()
def refresh_weights(layer: nn.Layer) -> None:
    """Let the hooks that make weights do so from the parameters as they are now."""
    for hook in layer._forward_pre_hooks.values():
        if _makes_weights(hook):
            hook(layer, None)


def _device(value: Tensor) -> str | None:
    """Where a tensor lies, as Paddle's names of devices; None where that is neither a CPU nor a GPU."""
    if value.place.is_cpu_place():
        return "cpu"
    return f"gpu:{value.place.gpu_device_id()}" if value.place.is_gpu_place() else None


def _makes_weights(hook: object) -> bool:
    return type(hook).__module__.startswith("paddle.nn.utils.")


def _fresh(new: nn.Layer, shared: Sequence[nn.Layer]) -> Iterator[nn.Layer]:
    known = {id(layer) for root in shared for layer in root.sublayers(include_self=True)}
    return (layer for layer in new.sublayers(include_self=True) if id(layer) not in known)


def _parameters(layers: Sequence[nn.Layer], kind: str | None = None) -> list[Tensor]:
    """What is trained of layers and all below; of one kind, those named "bias" or all others ("weight")."""
    return [
        parameter
        for root in layers
        for layer in root.sublayers(include_self=True)
        for name, parameter in own_parameters(layer).items()
        if kind in (None, "bias" if name == "bias" else "weight")
    ]


def _sources(old: Sequence[nn.Layer]) -> dict[str, Tensor]:
    """Of which parameter the attributes of biases and of weights are taken; empty where there is none."""
    weights, biases = _parameters(old, "weight"), _parameters(old, "bias")
    if not weights and not biases:
        return {}
    return {"weight": (weights or biases)[-1], "bias": (biases or weights)[-1]}


def _attributes(parameter: Tensor) -> tuple:
    return (
        parameter.stop_gradient,
        parameter.optimize_attr.get("learning_rate", 1.0),
        str(parameter.regularizer),
        parameter.need_clip,
    )


def _take_attributes(parameter: Tensor, source: Tensor) -> None:
    own, factor = parameter.optimize_attr, source.optimize_attr.get("learning_rate", 1.0)
    parameter.optimize_attr = {**source.optimize_attr, **own, "learning_rate": factor * own.get("learning_rate", 1.0)}
    parameter.regularizer = parameter.regularizer or source.regularizer
    parameter.need_clip, parameter.do_model_average = source.need_clip, source.do_model_average
    parameter.stop_gradient = source.stop_gradient
