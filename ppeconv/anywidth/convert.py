"""Turning a network into one that runs at any width."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
    size, found = _find(model, names, input_size)
    channels = found.channels(divisor, whole)
    substitutes = {id(layer): _converted(layer, names[layer], facts, found, channels) for layer in names}
    undo = _substitute(model, substitutes)
    try:
        for width in sorted({min_width, 0.37, 0.5}):
            _verify(model, list(channels.values()), channels[found.root(0)], width, size)
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


@dataclass
class _Found:
    """What a trace of the whole network tells: which layer reads and writes which channels, and which belong together.

    A producer is the image or a layer that makes channels; its channels have the numbers from `starts[producer]` on.
    """

    names: Mapping[nn.Layer, str]
    totals: list[int]
    producers: list[nn.Layer | None]
    reads: dict[nn.Layer, np.ndarray] = field(default_factory=dict)
    writes: dict[nn.Layer, np.ndarray] = field(default_factory=dict)
    final: set[int] = field(default_factory=set)
    """Producers of the network's outputs."""

    def __post_init__(self) -> None:
        self.starts = np.concatenate([[0], np.cumsum(self.totals)])
        self.parents = list(range(len(self.totals)))

    def root(self, producer: int) -> int:
        """The producer that stands for all whose channels are narrowed together."""
        while self.parents[producer] != producer:
            producer = self.parents[producer]
        return producer

    def split(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Producer and channel of each number."""
        producer = np.searchsorted(self.starts, numbers, side="right") - 1
        return producer, numbers - self.starts[producer]

    def handle(self, layer: nn.Layer, numbers: np.ndarray) -> np.ndarray:
        """Note what reaches a layer; gives what leaves it."""
        if (numbers == NOTHING).any():
            raise UserError(f"{self.names[layer]} gets channels that are always zero, so it cannot be followed")
        expected = _inputs_of(layer)
        if expected not in (None, len(numbers)):
            raise WrongInput(f"{self.names[layer]} reads {expected} channels and gets {len(numbers)}")
        if layer in self.reads:
            self.meet(self.reads[layer], numbers, self.names[layer])
            return self.writes[layer]
        self.reads[layer] = numbers
        if layer in self.producers:
            producer = self.producers.index(layer)
            self.writes[layer] = np.arange(self.starts[producer], self.starts[producer + 1])
        else:
            repeats = layer._out_channels // layer._in_channels if isinstance(layer, nn.Conv2D) else 1
            self.writes[layer] = np.repeat(numbers, repeats)
        return self.writes[layer]

    def meet(self, left: np.ndarray, right: np.ndarray, where: str) -> None:
        """Channels that are added must be narrowed together."""
        (one, first), (other, second) = self.split(left), self.split(right)
        for a, b in {*zip(one.tolist(), other.tolist(), strict=True)}:
            if self.totals[a] != self.totals[b] or (first != second)[(one == a) & (other == b)].any():
                raise UserError(
                    f"in {where} the {self.totals[a]} channels of {self._called(a)} meet the {self.totals[b]} of "
                    f"{self._called(b)}, but not each the one of the same number, so they cannot be narrowed together"
                )
            self.parents[self.root(a)] = self.root(b)

    def channels(self, divisor: int, whole: Sequence[str]) -> dict[int, Channels]:
        """The channels of each group, by its root."""
        roots = {self.root(producer) for producer in range(len(self.totals))}
        fixed = {self.root(producer) for producer in (0, *self.final)}
        for producer, layer in enumerate(self.producers):
            if layer and any(fnmatch.fnmatch(self.names[layer], pattern) for pattern in whole):
                fixed.add(self.root(producer))
        groups = {root: Channels(self.totals[root], divisor=divisor, whole=root in fixed) for root in roots}
        for root, base in self._expansions():
            if not groups[root].whole:
                groups[root].follows = groups[base]
        return groups

    def layout(self, numbers: np.ndarray, channels: Mapping[int, Channels]) -> Layout:
        """Numbers as a layout."""
        producer, index = self.split(numbers)
        roots = [self.root(p) for p in producer.tolist()]
        order = list(dict.fromkeys(roots))
        return Layout([channels[root] for root in order], np.array([order.index(root) for root in roots]), index)

    def _expansions(self) -> Iterator[tuple[int, int]]:
        """Groups made by a 1x1 convolution for a depthwise one, t times as many as it reads, and what it reads."""
        deep = {self.root(p) for layer in self.reads if _is_depthwise(layer) for p in self.split(self.reads[layer])[0]}
        for producer, layer in enumerate(self.producers):
            if self.root(producer) in deep and isinstance(layer, nn.Conv2D) and layer._kernel_size == [1, 1]:
                sources = {self.root(p) for p in self.split(self.reads[layer])[0]}
                if len(sources) == 1 and layer._out_channels % layer._in_channels == 0:
                    yield self.root(producer), sources.pop()

    def _called(self, producer: int) -> str:
        return self.names[self.producers[producer]] if producer else "the image"


def _find(
    model: nn.Layer, names: Mapping[nn.Layer, str], input_size: Sequence[int] | None
) -> tuple[list[int], _Found]:
    """A size that the network runs on and what the trace at that size finds."""
    problem: object = "it has no convolution to tell the image's channels"
    for size in [list(input_size)] if input_size else _candidates(model, names):
        shortcuts = [layer for layer in names if isinstance(layer, ShortcutA)]
        makers = [layer for layer in names if _makes_channels(layer)] + shortcuts
        totals = [size[1], *(_outputs_of(layer) for layer in makers)]
        found = _Found(names, totals, [None, *makers])
        tracer = Tracer(model, names, found.handle, found.meet, sum(totals))
        try:
            outputs = tracer.run(np.arange(size[1]), [1, *size[1:]])
        except UserError:
            raise
        except Exception as error:  # whatever the user's forward raises for images that do not fit
            problem = f"at {size}, in {tracer.where}: {str(error).strip().splitlines()[-1:] or [type(error).__name__]}"
            continue
        found.final = {int(p) for numbers in outputs for p in found.split(numbers[numbers != NOTHING])[0]}
        unseen = [path for layer, path in names.items() if layer not in found.reads]
        if unseen:
            raise UserError(f"{unseen[0]} does not run in {type(model).__name__}'s forward, so it cannot be followed")
        return size, found
    raise UserError(f"{type(model).__name__} does not run ({problem}); give input_size=[1, C, H, W]")


def _candidates(model: nn.Layer, names: Mapping[nn.Layer, str]) -> list[list[int]]:
    """Sizes of images on which a network may run."""
    first = next((layer for layer in names if isinstance(layer, nn.Conv2D)), None)
    sides = [*getattr(model, "image_shape", (0, 0))[1:2], *_SIDES]
    return [[1, first._in_channels, side, side] for side in dict.fromkeys(sides)] if first else []


def _converted(
    layer: nn.Layer, path: str, facts: Facts, found: _Found, channels: Mapping[int, Channels]
) -> AnyWidthLayer:
    """The layer that takes the place of `layer`."""
    inputs, outputs = (found.layout(numbers, channels) for numbers in (found.reads[layer], found.writes[layer]))
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


def _verify(
    model: nn.Layer, groups: Sequence[Channels], image: Channels, width: float, size: Sequence[int]
) -> None:
    """Trace the converted network at a width: every layer must get the channels that it is cut for."""
    ends = np.cumsum([group.total for group in groups]).tolist()
    starts = dict(zip(groups, [0, *ends[:-1]], strict=True))
    paths = {id(layer): path for path, layer in model.named_sublayers()}
    names = {layer: paths[id(layer)] for layer in any_width_layers(model)}

    def numbers(layout: Layout) -> np.ndarray:
        offsets = np.array([starts[group] for group in layout.groups])
        return (offsets[layout.group] + layout.index)[layout.is_active(width)]

    def handle(layer: AnyWidthLayer, found: np.ndarray) -> np.ndarray:
        expected = numbers(layer.inputs)
        if len(found) != len(expected) or (found != expected).any():
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
        tracer.run(np.arange(image.total) + starts[image], [1, *size[1:]])
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
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2D) and layer._groups == 1)


def _inputs_of(layer: nn.Layer) -> int | None:
    if isinstance(layer, nn.Conv2D):
        return layer._in_channels
    if isinstance(layer, nn.Linear):
        return layer.weight.shape[0]
    return layer.outputs - layer.front - layer.back if isinstance(layer, ShortcutA) else layer._num_features


def _outputs_of(layer: nn.Layer) -> int:
    if isinstance(layer, nn.Linear):
        return layer.weight.shape[1]
    return layer.outputs if isinstance(layer, ShortcutA) else layer._out_channels
