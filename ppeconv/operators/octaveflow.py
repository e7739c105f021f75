"""Two resolutions through a residual network: which of its layers the octaves of `OctaveConv` pass.

A residual block is a layer with conv1, bn1, conv2, bn2, perhaps conv3 and bn3, a relu and a downsample, as those of
this package and of `paddle.vision` are; a stage is an `nn.Sequential` of blocks. The first block divides the channels,
the first of the last stage unites them and pools where its later convolutions have a stride, and the other blocks of
that stage stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paddle import Tensor, nn

from ppeconv.errors import UserError
from ppeconv.layers.handover import hand_over
from ppeconv.operators.octaves import Octaves, PooledConv, merge_octaves, split_octaves
from ppeconv.operators.passage import Passage


class OctaveWise(nn.Layer):
    """A layer without parameters, applied to each resolution."""

    def __init__(self, layer: nn.Layer):
        super().__init__()
        self.layer = layer
        hand_over([layer], self)

    def forward(self, x: Tensor | Octaves) -> Tensor | Octaves:
        return Octaves(self.layer(x.high), self.layer(x.low)) if isinstance(x, Octaves) else self.layer(x)


class OctaveNorm(nn.Layer):
    """A batch norm for each resolution, with the weights and statistics of the one in whose place it is."""

    def __init__(self, norm: nn.BatchNorm2D, low: int):
        super().__init__()
        channels = norm._num_features
        settings = {
            "momentum": norm._momentum,
            "epsilon": norm._epsilon,
            "weight_attr": None if norm.weight is not None else False,
            "bias_attr": None if norm.bias is not None else False,
            "use_global_stats": norm._use_global_stats,
        }
        self.high, self.low = nn.BatchNorm2D(channels - low, **settings), nn.BatchNorm2D(low, **settings)
        hand_over([norm], self)
        for name, value in norm.state_dict().items():
            self.high.state_dict()[name].set_value(value[: channels - low])
            self.low.state_dict()[name].set_value(value[channels - low :])

    def forward(self, x: Octaves) -> Octaves:
        return Octaves(self.high(x.high), self.low(x.low))


class OctaveShortcut(nn.Layer):
    """A shortcut that knows one resolution: [both merged ->] layer -> divided anew, with `low` channels."""

    def __init__(self, layer: nn.Layer, channels: int, low_share: float):
        super().__init__()
        self.layer, self.low = layer, int(low_share * channels)
        hand_over([layer], self)

    def forward(self, x: Tensor | Octaves) -> Tensor | Octaves:
        return split_octaves(self.layer(merge_octaves(x)), self.low)


def octave_passage(model: nn.Layer, alpha: float) -> Passage:
    """The way of the octaves through `model`.

    Raises:
        UserError: there are not two stages of residual blocks, or one of them has a layer that knows one resolution.
    """
    stages = [blocks for layer in model.sublayers(include_self=True) if (blocks := _blocks(layer))]
    if len(stages) < 2:
        raise UserError(
            "rules.flow needs two or more stages, each an nn.Sequential of residual blocks with conv1, bn1, conv2, "
            f"bn2, relu and downsample; {type(model).__name__} has {len(stages)}; without rules.flow OctaveConv "
            "replaces single convolutions"
        )
    passage = Passage("outside the residual blocks that the octaves pass", "hooks get both resolutions here")
    inside = [block for stage in stages[:-1] for block in stage]
    paths = {id(layer): path for path, layer in model.named_sublayers()}
    for index, block in enumerate(inside):
        if alpha:
            _check(block, paths[id(block)])
        _pass(block, 0.0 if index == 0 else alpha, alpha, passage)
    _leave(stages[-1][0], alpha, passage)
    return passage


def passes_octaves(block: nn.Layer) -> bool:
    """Whether both resolutions go all the way through a block."""
    return any(isinstance(part, OctaveNorm) for part in block.children())


def _blocks(layer: nn.Layer) -> list[nn.Layer]:
    """The blocks of a stage; none where the layer is no stage."""
    children = list(layer.children()) if isinstance(layer, nn.Sequential) else []
    return children if all(_is_block(child) for child in children) else []


def _is_block(layer: nn.Layer) -> bool:
    parts = [getattr(layer, name, None) for name in ("conv1", "conv2", "bn1", "bn2", "relu")]
    kinds = nn.Conv2D, nn.Conv2D, nn.BatchNorm2D, nn.BatchNorm2D, nn.ReLU
    return hasattr(layer, "downsample") and all(isinstance(part, kind) for part, kind in zip(parts, kinds, strict=True))


def _convolutions(block: nn.Layer) -> Iterator[tuple[nn.Conv2D, str, str]]:
    """The convolutions of a block's main path, each with its name and that of the norm behind it."""
    for number in (1, 2, 3):
        if hasattr(block, f"conv{number}"):
            yield getattr(block, f"conv{number}"), f"conv{number}", f"bn{number}"


_PARTS = "conv1", "conv2", "conv3", "bn1", "bn2", "bn3", "relu", "downsample"


def _check(block: nn.Layer, path: str) -> None:
    for name, part in block.named_children():
        if name not in _PARTS and not isinstance(part, nn.Identity):
            raise UserError(
                f"rules.flow takes both resolutions through {path}, and its layer {name}, a {type(part).__name__}, "
                "takes one; only the blocks of the last stage may have one, or leave rules.flow out"
            )


def _pass(block: nn.Layer, alpha_in: float, alpha: float, passage: Passage) -> None:
    """Octaves from the first convolution to the end of the block."""
    share = alpha_in
    for conv, _, norm in _convolutions(block):
        passage.arguments[id(conv)] = _arguments(share, alpha)
        _divide_norm(block, norm, alpha, passage)
        share = alpha
    passage.settings.append((block, "relu", OctaveWise(block.relu)))
    if _is_projection(block.downsample):
        passage.arguments[id(block.downsample[0])] = _arguments(alpha_in, alpha)
        _divide_norm(block.downsample, "1", alpha, passage)
    elif block.downsample is not None or alpha_in != alpha:
        passage.settings.append((block, "downsample", _shortcut(block, conv._out_channels, alpha)))


def _leave(block: nn.Layer, alpha: float, passage: Passage) -> None:
    """Octaves to the first convolution and the shortcut, one resolution behind them."""
    passage.arguments[id(block.conv1)] = _arguments(alpha, 0.0)
    for conv, name, _ in _convolutions(block):
        if conv is not block.conv1 and max(conv._stride) > 1:
            passage.arguments[id(conv)] = _arguments(0.0, 0.0)
            passage.kept[id(conv)] = "its input has one resolution, which is pooled to half instead of the stride"
            passage.settings.append((block, name, PooledConv(conv)))
    if _is_projection(block.downsample):
        passage.arguments[id(block.downsample[0])] = _arguments(alpha, 0.0)
    else:
        passage.settings.append((block, "downsample", _shortcut(block, 0, 0.0)))


def _arguments(alpha_in: float, alpha_out: float) -> dict[str, Any]:
    return {"alpha_in": alpha_in, "alpha_out": alpha_out, "two_tensor": True}


def _divide_norm(owner: nn.Layer, name: str, alpha: float, passage: Passage) -> None:
    norm = getattr(owner, name)
    if low := int(alpha * norm._num_features):
        passage.settings.append((owner, name, OctaveNorm(norm, low)))


def _is_projection(downsample: nn.Layer | None) -> bool:
    children = list(downsample.children()) if isinstance(downsample, nn.Sequential) else []
    return [type(child) for child in children] == [nn.Conv2D, nn.BatchNorm2D]


def _shortcut(block: nn.Layer, channels: int, alpha: float) -> OctaveShortcut:
    layer = block.downsample or nn.Identity()
    layer.training = block.training if block.downsample is None else layer.training
    return OctaveShortcut(layer, channels, alpha)
