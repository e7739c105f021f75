"""Starting from trained weights, and keeping some of them as they are."""

from __future__ import annotations

import fnmatch
import importlib
from collections.abc import Sequence
from pathlib import Path

from paddle import nn

from ppeconv.backbones.external import PADDLE_VISION
from ppeconv.backbones.protocol import offers
from ppeconv.errors import UserError, nearest
from ppeconv.layers.parameters import NORMS
from ppeconv.registry import BACKBONES


def freeze(model: nn.Layer, patterns: Sequence[str]) -> str:
    """Stop training of the parameters whose names match; batch norms among them keep their statistics.

    Returns:
        What is frozen, as a sentence.
    """
    names = [name for name, parameter in model.named_parameters() if not parameter.stop_gradient]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UserError(f"Arch.freeze names {pattern!r}, which matches no parameter{nearest(pattern, names)}")
    frozen = {name for pattern in patterns for name in fnmatch.filter(names, pattern)}
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.stop_gradient = True
    for path, layer in model.named_sublayers():
        if isinstance(layer, NORMS) and f"{path}.weight" in frozen:
            layer._use_global_stats = True
    if len(frozen) == len(names):
        raise UserError(f"Arch.freeze {list(patterns)} freezes every parameter; nothing is left to train")
    return f"frozen: {len(frozen)} of {len(names)} parameter arrays"


_FAMILIES = "densenet", "inceptionv3", "mobilenetv1", "mobilenetv2", "mobilenetv3", "resnet", "squeezenet", "vgg"


def imagenet_weights(name: str) -> Path:
    """The file of a network's ImageNet weights, fetched by Paddle."""
    from paddle.utils.download import get_weights_path_from_url

    families = [importlib.import_module(f"paddle.vision.models.{family}") for family in _FAMILIES]
    known = {key: value for family in families for key, value in family.model_urls.items()}
    key: str | None = name.removeprefix(PADDLE_VISION).removeprefix("models.")
    if BACKBONES.knows(name):
        key = offers(BACKBONES.get(name)).imagenet_weights
    if key not in known:
        ours = [entry for entry in BACKBONES.names() if offers(BACKBONES.get(entry)).imagenet_weights]
        raise UserError(
            f"there are no ImageNet weights for {name}; Arch.pretrained: true works for {', '.join(ours)} and for "
            "networks of paddle.vision; give the path of weights instead"
        )
    try:
        return Path(get_weights_path_from_url(*known[key]))
    except Exception as error:
        raise UserError(
            f"the ImageNet weights of {name} could not be downloaded ({str(error).splitlines()[0]}); download them "
            "elsewhere and give their path as Arch.pretrained"
        ) from None
