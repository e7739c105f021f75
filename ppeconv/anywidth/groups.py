"""Which channels of a network belong together, found by following them through one forward pass."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from paddle import nn

from ppeconv.anywidth.channels import Channels, Layout
from ppeconv.anywidth.trace import NOTHING, Tracer, WrongInput, brief
from ppeconv.backbones.protocol import offers
from ppeconv.errors import UserError
from ppeconv.layers.shortcut import ShortcutA

_SIDES = (32, 28, 64, 96, 128, 224)


class ChannelGroups:
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

    def meets(self, numbers: np.ndarray) -> bool:
        """Whether one of these channels met another in an operation."""
        classes = [self._class(number) for number in range(len(self.parents))]
        shared = {name for name, count in Counter(classes).items() if count > 1}
        return any(classes[number] in shared for number in numbers.tolist())

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
        deep = {group for layer in self.reads if is_depthwise(layer) for group in self.layout(self.reads[layer]).groups}
        for layer, numbers in self.made.items():
            made, read = self.layout(numbers).groups, self.layout(self.reads[layer]).groups
            if isinstance(layer, nn.Conv2D) and layer._kernel_size == [1, 1] and len(made) == len(read) == 1:
                expansion, rest = divmod(made[0].total, read[0].total)
                if made[0] in deep and not made[0].whole and expansion > 1 and not rest:
                    made[0].follows = read[0]


def follow(
    model: nn.Layer, names: Mapping[nn.Layer, str], input_size: Sequence[int] | None
) -> tuple[list[int], ChannelGroups, list[np.ndarray]]:
    """A size that the network runs on, what the trace at that size finds, and the channels of the outputs."""
    problem: object = "it has no convolution to tell the image's channels"
    for size in [list(input_size)] if input_size else _candidates(model, names):
        found = ChannelGroups(names, [layer for layer in names if _makes_channels(layer)], size[1])
        tracer = Tracer(model, names, found.handle, found.meet, len(found.parents))
        try:
            outputs = tracer.run(found.image, [1, *size[1:]])
        except UserError:
            raise
        except Exception as error:  # whatever the user's forward raises for images that do not fit
            problem = f"at {size}, in {tracer.where}: {brief(error)}"
            continue
        unseen = [path for layer, path in names.items() if layer not in found.reads]
        if unseen:
            raise UserError(f"{unseen[0]} does not run in {type(model).__name__}'s forward, so it cannot be followed")
        return size, found, outputs
    raise UserError(f"{type(model).__name__} does not run ({problem}); give input_size=[1, C, H, W]")


def _candidates(model: nn.Layer, names: Mapping[nn.Layer, str]) -> list[list[int]]:
    """Sizes of images on which a network may run."""
    first = next((layer for layer in names if isinstance(layer, nn.Conv2D)), None)
    sides = [*_SIDES, *(offers(model).image_shape or ())[1:2]]
    return [[1, first._in_channels, side, side] for side in dict.fromkeys(sides)] if first else []


def is_depthwise(layer: nn.Layer) -> bool:
    return isinstance(layer, nn.Conv2D) and layer._groups > 1


def _makes_channels(layer: nn.Layer) -> bool:
    """Whether a layer writes other channels than it reads."""
    return isinstance(layer, (nn.Linear, nn.Conv2D, ShortcutA)) and not is_depthwise(layer)


def _inputs_of(layer: nn.Layer) -> int:
    if isinstance(layer, nn.Conv2D):
        return layer._in_channels
    if isinstance(layer, nn.Linear):
        return layer.weight.shape[0]
    return layer.inputs if isinstance(layer, ShortcutA) else layer._num_features


def _outputs_of(layer: nn.Layer) -> int:
    if isinstance(layer, nn.Linear):
        return layer.weight.shape[1]
    return layer.outputs if isinstance(layer, ShortcutA) else layer._out_channels
