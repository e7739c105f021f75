"""Turning a network into one that runs at any width."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np
from paddle import nn

from ppeconv.anywidth.channels import Channels, Layout
from ppeconv.anywidth.layers import (
    AnyWidthConv2D,
    AnyWidthLayer,
    AnyWidthLinear,
    TriangularConv2D,
    TriangularLinear,
    refuse,
)
from ppeconv.anywidth.norms import CalibratedBatchNorm, PrivateBatchNorm, SharedBatchNorm
from ppeconv.anywidth.shortcut import AnyWidthShortcut
from ppeconv.anywidth.trace import NOTHING, Tracer, WrongInput
from ppeconv.anywidth.width import Facts, any_width_layers, at_width, set_width
from ppeconv.backbones.resnet_cifar import ShortcutA
from ppeconv.errors import UserError

_NORMS = (nn.BatchNorm1D, nn.BatchNorm2D)
_SIDES = (32, 28, 64, 96, 128, 224)


def make_anywidth(
    model: nn.Layer,
    kind: Literal["awn", "snet", "usnet"] = "awn",
    widths: Sequence[float] | None = None,
    min_width: float = 0.25,
    divisor: int = 1,
    whole: Sequence[str] | None = None,
    input_size: Sequence[int] | None = None,
) -> nn.Layer:
    """Convert a network in place into one that runs at any width in (0, 1], keeping its weights.

    Args:
        model: any network of convolutions (dense or depthwise), linear layers and batch norms. Layers whose channels
            are added together are narrowed together; concatenations, flattening and shuffles are followed.
        kind: "awn" has triangular layers and one batch norm for all widths (weights above the diagonal become zero),
            "snet" a batch norm for each of `widths`, "usnet" one whose statistics `calibrate` measures.
        widths: those trained by k-width training, and for "snet" those with a norm; (1, 0.75, 0.5, 0.25) if not given.
        min_width: narrowest width of training and evaluation; narrower ones run too.
        divisor: a narrowed number of channels is a multiple of it; 1 rounds as Python does, 8 as the slimmable nets.
        whole: shell patterns of paths of layers whose outputs are never cut. When not given, what the backbone says
            (MobileNetV2: its last convolution), and nothing for "awn", whose norm cannot serve such a layer.
        input_size: [N, C, H, W] of an example; found by trial when not given.

    Returns:
        The same network, with `model.at_width(w)`; see also `set_width`.

    Raises:
        UserError: a layer cannot be cut, or its channels cannot be followed. The network is then unchanged.

    Sources: AWN arXiv 2012.03153, S-Net arXiv 1812.08928, US-Net arXiv 1903.05134.
    """
    facts = Facts(kind, tuple(sorted(widths or (0.25, 0.5, 0.75, 1.0), reverse=True)), min_width)
    facts.check()
    if whole is None:
        whole = () if kind == "awn" else getattr(model, "whole_outputs", ())
    names = _layers_to_convert(model)
    size, found, outputs = _find(model, names, input_size)
    found.settle(outputs, divisor, whole)
    substitutes = {id(layer): _converted(layer, names[layer], facts, found) for layer in names}
    undo = _substitute(model, substitutes)
    try:
        for width in sorted({min_width, 0.37, 0.5}):
            _verify(model, found, width, size)
    except UserError:
        for owner, name, layer in undo:
            owner._sub_layers[name] = layer
        raise
    model.anywidth, model.at_width = facts, partial(at_width, model)
    set_width(model, 1.0)
    return model


def _layers_to_convert(model: nn.Layer) -> dict[nn.Layer, str]:
    """The layers with channels, each with its path; a UserError for one that cannot be cut."""
    if any(True for _ in any_width_layers(model)):
        raise UserError("this network runs at any width already; convert a network once")
    names = {}
    for path, layer in model.named_sublayers():
        if type(layer) in (nn.Conv2D, nn.Linear, *_NORMS, ShortcutA):
            names.setdefault(layer, path)
            reason = None
            if isinstance(layer, nn.Conv2D):
                reason = refuse(layer._groups, layer._in_channels, layer._padding_mode, layer._data_format)
            if reason:
                raise UserError(f"{path} cannot run at any width: it {reason}")
        elif any(value is not None and np.prod(value.shape) > 1 for value in layer._parameters.values()):
            raise UserError(
                f"{path} is a {type(layer).__name__} with parameters of its own; any-width networks are made of "
                "Conv2D, Linear, BatchNorm1D and BatchNorm2D"
            )
    if not any(isinstance(layer, (nn.Conv2D, nn.Linear)) for layer in names):
        raise UserError(f"{type(model).__name__} has no Conv2D and no Linear below it, so there is nothing to narrow")
    return names


class _Found:
    """What a trace of the whole network tells: which channels each layer reads and writes, and which belong together.

    Every channel of the image and of the layers that make channels has a number; those that meet in an addition or a
    multiplication are one class and are narrowed together.
    """

    def __init__(self, names: Mapping[nn.Layer, str], makers: Sequence[nn.Layer], image_channels: int):
        self.names = names
        ends = np.cumsum([image_channels, *(_outputs_of(layer) for layer in makers)]).tolist()
        self.image = np.arange(image_channels)
        self.made = {layer: np.arange(*ends[at : at + 2]) for at, layer in enumerate(makers)}
        self.parents = list(range(ends[-1]))
        self.reads: dict[nn.Layer, np.ndarray] = {}
        self.writes: dict[nn.Layer, np.ndarray] = {}
        self.home: dict[int, tuple[Channels, int]] = {}
        """Class -> its channels and its place among them."""

    def handle(self, layer: nn.Layer, numbers: np.ndarray) -> np.ndarray:
        """Note what reaches a layer; gives what leaves it."""
        if (numbers == NOTHING).any():
            raise UserError(f"{self.names[layer]} gets channels that are always zero, so it cannot be followed")
        if len(numbers) != _inputs_of(layer):
            raise WrongInput(f"{self.names[layer]} reads {_inputs_of(layer)} channels and gets {len(numbers)}")
        if layer in self.reads:
            self.meet(self.reads[layer], numbers, self.names[layer])
        else:
            self.reads[layer] = numbers
            repeats = layer._out_channels // layer._in_channels if isinstance(layer, nn.Conv2D) else 1
            self.writes[layer] = self.made[layer] if layer in self.made else np.repeat(numbers, repeats)
        return self.writes[layer]

    def meet(self, left: np.ndarray, right: np.ndarray, where: str) -> None:
        """Channels that are added must be narrowed together."""
        for one, other in zip(left.tolist(), right.tolist(), strict=True):
            self.parents[self._class(one)] = self._class(other)

    def settle(self, outputs: Sequence[np.ndarray], divisor: int, whole: Sequence[str]) -> None:
        """Decide how each class is narrowed. The smallest layers come first; what met them follows them."""
        named = [layer for layer in self.made if any(fnmatch.fnmatch(self.names[layer], word) for word in whole)]
        fixed = np.concatenate([self.image, *outputs, *(self.made[layer] for layer in named)])
        whole_classes = {self._class(number) for number in fixed[fixed != NOTHING].tolist()}
        for numbers in sorted([self.image, *self.made.values()], key=len):
            classes = list(dict.fromkeys(map(self._class, numbers.tolist())))
            for new in (
                [c for c in classes if c not in self.home and c in whole_classes],
                [c for c in classes if c not in self.home and c not in whole_classes],
            ):
                channels = Channels(len(new), divisor=divisor, whole=bool(new) and new[0] in whole_classes)
                self.home |= {each: (channels, index) for index, each in enumerate(new)}
        self._tie_expansions()

    def layout(self, numbers: np.ndarray) -> Layout:
        """Numbers as a layout."""
        homes = [self.home[self._class(number)] for number in numbers.tolist()]
        groups = list(dict.fromkeys(channels for channels, _ in homes))
        position = {channels: at for at, channels in enumerate(groups)}
        return Layout(groups, [position[channels] for channels, _ in homes], [index for _, index in homes])

    @property
    def groups(self) -> list[Channels]:
        """All channels, by groups."""
        return list(dict.fromkeys(channels for channels, _ in self.home.values()))

    def _class(self, number: int) -> int:
        while self.parents[number] != number:
            self.parents[number] = self.parents[self.parents[number]]
            number = self.parents[number]
        return number

    def _tie_expansions(self) -> None:
        """What a 1x1 convolution makes for a depthwise one, t times as many channels as it reads, stays t times."""
        deep = {
            group for layer in self.reads if _is_depthwise(layer) for group in self.layout(self.reads[layer]).groups
        }
        for layer, numbers in self.made.items():
            made, read = self.layout(numbers).groups, self.layout(self.reads[layer]).groups
            if isinstance(layer, nn.Conv2D) and layer._kernel_size == [1, 1] and len(made) == len(read) == 1:
                expansion, rest = divmod(made[0].total, read[0].total)
                if made[0] in deep and not made[0].whole and expansion > 1 and not rest:
                    made[0].follows = read[0]


def _find(
    model: nn.Layer, names: Mapping[nn.Layer, str], input_size: Sequence[int] | None
) -> tuple[list[int], _Found, list[np.ndarray]]:
    """A size that the network runs on, what the trace at that size finds, and the channels of the outputs."""
    problem: object = "it has no convolution to tell the image's channels"
    for size in [list(input_size)] if input_size else _candidates(model, names):
        found = _Found(names, [layer for layer in names if _makes_channels(layer)], size[1])
        tracer = Tracer(model, names, found.handle, found.meet, len(found.parents))
        try:
            outputs = tracer.run(found.image, [1, *size[1:]])
        except UserError:
            raise
        except Exception as error:  # whatever the user's forward raises for images that do not fit
            problem = f"at {size}, in {tracer.where}: {str(error).strip().splitlines()[-1:] or [type(error).__name__]}"
            continue
        unseen = [path for layer, path in names.items() if layer not in found.reads]
        if unseen:
            raise UserError(f"{unseen[0]} does not run in {type(model).__name__}'s forward, so it cannot be followed")
        return size, found, outputs
    raise UserError(f"{type(model).__name__} does not run ({problem}); give input_size=[1, C, H, W]")


def _candidates(model: nn.Layer, names: Mapping[nn.Layer, str]) -> list[list[int]]:
    """Sizes of images on which a network may run."""
    first = next((layer for layer in names if isinstance(layer, nn.Conv2D)), None)
    sides = [*getattr(model, "image_shape", (0, 0))[1:2], *_SIDES]
    return [[1, first._in_channels, side, side] for side in dict.fromkeys(sides)] if first else []


def _converted(layer: nn.Layer, path: str, facts: Facts, found: _Found) -> AnyWidthLayer:
    """The layer that takes the place of `layer`."""
    inputs, outputs = found.layout(found.reads[layer]), found.layout(found.writes[layer])
    triangular = facts.kind == "awn" and not outputs.whole and not inputs.whole
    if isinstance(layer, nn.Conv2D):
        cls = TriangularConv2D if triangular and not _is_depthwise(layer) else AnyWidthConv2D
        return cls.like(layer, inputs, outputs)
    if isinstance(layer, nn.Linear):
        return (TriangularLinear if triangular else AnyWidthLinear).like(layer, inputs, outputs)
    if isinstance(layer, ShortcutA):
        return AnyWidthShortcut(layer.stride, inputs, outputs, spread=facts.kind == "awn")
    if facts.kind == "snet":
        return PrivateBatchNorm(layer, inputs, facts.widths)
    if facts.kind == "usnet":
        return CalibratedBatchNorm(layer, inputs)
    if inputs.whole:
        raise UserError(
            f"{path} would normalise channels that are always whole, whose statistics depend on the width; with "
            "kind awn leave the layer before it out of `whole`"
        )
    return SharedBatchNorm(layer, inputs)


def _substitute(model: nn.Layer, substitutes: Mapping[int, nn.Layer]) -> list[tuple[nn.Layer, str, nn.Layer]]:
    """Put the new layers in; returns what has to be set to undo it."""
    places = [
        (owner, name, child)
        for owner in model.sublayers(include_self=True)
        for name, child in owner._sub_layers.items()
        if id(child) in substitutes
    ]
    for owner, name, child in places:
        owner._sub_layers[name] = substitutes[id(child)]
    return places


def _verify(model: nn.Layer, found: _Found, width: float, size: Sequence[int]) -> None:
    """Trace the converted network at a width: every layer must get the channels that it is cut for."""
    ends = np.cumsum([group.total for group in found.groups]).tolist()
    starts = dict(zip(found.groups, [0, *ends[:-1]], strict=True))
    paths = {id(layer): path for path, layer in model.named_sublayers()}
    names = {layer: paths[id(layer)] for layer in any_width_layers(model)}

    def numbers(layout: Layout) -> np.ndarray:
        offsets = np.array([starts[group] for group in layout.groups])
        return (offsets[layout.group] + layout.index)[layout.is_active(width)]

    def handle(layer: AnyWidthLayer, given: np.ndarray) -> np.ndarray:
        expected = numbers(layer.inputs)
        if len(given) != len(expected) or (given != expected).any():
            raise UserError(
                f"at width {width:g} {names[layer]} gets other channels than those it is cut for; before it the "
                "network's forward picks or orders channels by fixed numbers"
            )
        return numbers(layer.outputs)

    def meet(left: np.ndarray, right: np.ndarray, where: str) -> None:
        if (left != right).any():
            raise UserError(f"at width {width:g} different channels meet in {where}, so it cannot be narrowed")

    set_width(model, width)
    tracer = Tracer(model, names, handle, meet, ends[-1])
    try:
        tracer.run(numbers(found.layout(found.image)), [1, *size[1:]])
    except UserError:
        raise
    except Exception as error:  # whatever the user's forward raises for fewer channels
        raise UserError(
            f"{tracer.where} does not run at width {width:g} ({str(error).strip().splitlines()[-1:]}); its forward "
            "seems to hold numbers of channels"
        ) from None


def _is_depthwise(layer: nn.Layer) -> bool:
    return isinstance(layer, nn.Conv2D) and layer._groups > 1


def _makes_channels(layer: nn.Layer) -> bool:
    """Whether a layer writes other channels than it reads."""
    return isinstance(layer, (nn.Linear, nn.Conv2D, ShortcutA)) and not _is_depthwise(layer)


def _inputs_of(layer: nn.Layer) -> int:
    if isinstance(layer, nn.Conv2D):
        return layer._in_channels
    if isinstance(layer, nn.Linear):
        return layer.weight.shape[0]
    return layer.outputs - layer.front - layer.back if isinstance(layer, ShortcutA) else layer._num_features


def _outputs_of(layer: nn.Layer) -> int:
    if isinstance(layer, nn.Linear):
        return layer.weight.shape[1]
    return layer.outputs if isinstance(layer, ShortcutA) else layer._out_channels
