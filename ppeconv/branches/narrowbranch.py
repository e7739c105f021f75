"""NarrowBranch: fewer channels between the convolutions of a residual branch, those that matter least cut."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from paddle import nn

from ppeconv.branches.base import BranchChange
from ppeconv.branches.find import InnerChannels, ResidualBlock
from ppeconv.domains import Share
from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.layers.handover import copy_hooks, hand_over
from ppeconv.operators.cost import Cost
from ppeconv.registry import BRANCHES
from ppeconv.schema.declaration import OwnArguments, Paper


@BRANCHES.register
class NarrowBranch(BranchChange):
    """The channels between the convolutions of a residual branch become a share of what they were; the sum stays.

    A channel counts as |scale of its batch norm| times the norm of the weights that read it; those that count most are
    kept, in their order, with their weights.

    Parameters: 2 k^2 C w C + 2 w C + 2 C of two k x k convolutions of C channels with batch norms, w the share; MACs:
    2 k^2 C w C H W.

    Departure: the paper chooses channels by a regression on feature maps, and fits what reads them anew.
    """

    papers = (Paper("Channel Pruning for Accelerating Very Deep Neural Networks", "ICCV 2017", "1707.06168"),)

    tried: ClassVar[Sequence[dict[str, Any]]] = ({"ratio": 0.75}, {"ratio": 0.5}, {"ratio": 0.25})

    class Arguments(OwnArguments):
        ratio: Share = 0.5
        """The channels that are kept, as a share of those between the convolutions; rounded, one at least."""

    @classmethod
    def refuse(cls, block: ResidualBlock, own: Arguments) -> None:
        if not block.inner:
            raise Unsupported("no convolution in it writes channels that only norms and convolutions in it read")
        if all(kept(inner.writer._out_channels, own.ratio) == inner.writer._out_channels for inner in block.inner):
            raise Unsupported(f"ratio {own.ratio:g} leaves all channels")

    @classmethod
    def changed(cls, block: ResidualBlock, own: Arguments) -> nn.Layer:
        cuts: dict[int, _Cut] = {}
        for inner in block.inner:
            positions = most_important(inner, kept(inner.writer._out_channels, own.ratio))
            for layer in (inner.writer, *inner.norms, *inner.depthwise):
                cuts.setdefault(id(layer), _Cut(layer)).outputs = positions
            for reader in inner.readers:
                cuts.setdefault(id(reader), _Cut(reader)).inputs = positions
        new = {key: cut.made() for key, cut in cuts.items()}
        for key, cut in cuts.items():
            hand_over([cut.layer], new[key])
            copy_hooks(cut.layer, new[key])
        return copy.deepcopy(block.layer, new)

    @classmethod
    def describe(cls, block: ResidualBlock, own: Arguments) -> str:
        counts = [inner.writer._out_channels for inner in block.inner]
        return ", ".join(f"{count} -> {kept(count, own.ratio)} inner channels" for count in counts)

    @classmethod
    def cost(cls, channels: int, height: int, width: int, own: Arguments) -> Cost:
        inner, kernel, pixels = kept(channels, own.ratio), (3, 3), (height, width)
        return (
            Cost.conv(channels, inner, kernel, pixels)
            + Cost.norm(inner)
            + Cost.conv(inner, channels, kernel, pixels)
            + Cost.norm(channels)
        )


def kept(channels: int, ratio: float) -> int:
    """How many of so many channels."""
    return max(1, round(channels * ratio))


def most_important(inner: InnerChannels, count: int) -> np.ndarray:
    """Positions of the channels that are kept, in their order."""
    weights = [reader.weight.numpy().astype(np.float64) for reader in inner.readers]
    importance = np.sqrt(sum(np.square(weight).sum((0, 2, 3)) for weight in weights))
    for norm in inner.norms:
        if norm.weight is not None:
            importance = importance * np.abs(norm.weight.numpy())
    return np.sort(np.argsort(-importance, kind="stable")[:count])


@dataclass
class _Cut:
    """A layer and the positions of the channels that it keeps; None is all."""

    layer: nn.Layer
    outputs: np.ndarray | None = None
    inputs: np.ndarray | None = None

    def made(self) -> nn.Layer:
        """The narrower layer, with the weights that it keeps."""
        layer: Any = self.layer
        new = self._norm() if isinstance(layer, nn.BatchNorm2D) else self._conv()
        for name, value in layer.state_dict().items():
            depthwise = isinstance(layer, nn.Conv2D) and layer._groups > 1
            axes = [self.outputs, None if depthwise else self.inputs]
            getattr(new, name).set_value(_taken(value.numpy(), axes))
        new.training = layer.training
        return new

    def _conv(self) -> nn.Conv2D:
        geometry = ConvGeometry.of_layer(self.layer)
        outputs, inputs = (
            count if positions is None else len(positions)
            for count, positions in ((geometry.out_channels, self.outputs), (geometry.in_channels, self.inputs))
        )
        if geometry.groups > 1:
            return nn.Conv2D(
                **replace(geometry, in_channels=outputs, out_channels=outputs, groups=outputs).conv_arguments()
            )
        return nn.Conv2D(**replace(geometry, in_channels=inputs, out_channels=outputs).conv_arguments())

    def _norm(self) -> nn.BatchNorm2D:
        norm: Any = self.layer
        affine = {
            name: None if value is not None else False
            for name, value in (("weight_attr", norm.weight), ("bias_attr", norm.bias))
        }
        count = norm._num_features if self.outputs is None else len(self.outputs)
        return nn.BatchNorm2D(count, norm._momentum, norm._epsilon, **affine, use_global_stats=norm._use_global_stats)


def _taken(value: np.ndarray, axes: Sequence[np.ndarray | None]) -> np.ndarray:
    for axis, positions in enumerate(axes[: value.ndim]):
        if positions is not None:
            value = np.take(value, positions, axis)
    return np.ascontiguousarray(value)
