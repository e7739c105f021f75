"""Starting from trained weights, and keeping some of them as they are."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from paddle import nn

from ppeconv.backbones.external import PADDLE_VISION
from ppeconv.config import Config
from ppeconv.counting import NORMS
from ppeconv.engine.checkpoint import weight_file
from ppeconv.errors import UserError, nearest
from ppeconv.registry import BACKBONES


def starting_weights(config: Config) -> Path | None:
    """The weight file that a run starts from, or None; ImageNet weights are fetched by Paddle."""
    if config.Global.pretrained_model:
        return weight_file(config.Global.pretrained_model)
    if config.Arch.pretrained is True:
        return _imagenet_weights(config.Arch.name)
    return weight_file(config.Arch.pretrained) if config.Arch.pretrained else None


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
    return f"frozen: {len(frozen)} of {len(names)} parameter arrays" if frozen else ""


def _imagenet_weights(name: str) -> Path:
    from paddle.utils.download import get_weights_path_from_url
    from paddle.vision.models import mobilenetv2, resnet, vgg

    known = {**resnet.model_urls, **vgg.model_urls, **mobilenetv2.model_urls}
    key = name.removeprefix(PADDLE_VISION).removeprefix("models.")
    key = getattr(BACKBONES.get(name), "imagenet_weights", None) if key == name else key
    if key not in known:
        raise UserError(
            f"there are no ImageNet weights for {name}; Arch.pretrained: true works for ResNet18, ResNet34, ResNet50, "
            "VGG16, MobileNetV2 and paddle.vision's ResNets, VGGs and MobileNetV2; give the path of weights instead"
        )
    try:
        return Path(get_weights_path_from_url(*known[key]))
    except Exception as error:
        raise UserError(
            f"the ImageNet weights of {name} could not be downloaded ({str(error).splitlines()[0]}); download them "
            "elsewhere and give their path as Arch.pretrained"
        ) from None
