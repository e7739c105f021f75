"""One width of a network as a network of its own, and what it costs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from paddle import nn

from ppeconv.anywidth.layers import Weighted
from ppeconv.anywidth.width import any_width_layers, set_width, statistics_from, width_of
from ppeconv.counting import count
from ppeconv.layers.handover import copy_hooks
from ppeconv.layers.parameters import parameter_count


def narrow(model: nn.Layer, width: float | None = None) -> nn.Layer:
    """An ordinary network with copies of the weights that are active at a width; `model` stays as it is.

    A masked weight is an ordinary zero in it, or left out where that is faster: see `BlockConv2D`.

    Args:
        model: an any-width network.
        width: in (0, 1]. Not given, the present one is taken, and a network that has one width only is given back.
    """
    if width is None:
        if not any(True for _ in any_width_layers(model)):
            return model
        width = width_of(model)
    with set_width(model, width):
        layers = list(any_width_layers(model))
        plain = {id(layer): layer.plain() for layer in layers}
    for layer in layers:
        copy_hooks(layer, plain[id(layer)])
    network = copy.deepcopy(model, plain)
    for name in ("anywidth", "at_width"):
        network.__dict__.pop(name, None)
    return network


@dataclass
class WidthCounts:
    """What one width costs, for one image. 1 MAC = 1 multiply-add, see `ppeconv.counting`."""

    stored_params: int
    """Trainable parameters of the whole network, masked ones and those of other widths too."""
    active_params: int
    """Those in use at this width; a masked weight is not."""
    macs: int
    """Multiply-adds of the dense layers, as they run."""
    active_macs: int
    """Multiply-adds with weights that are not masked."""


def count_width(model: nn.Layer, input_size: Sequence[int], width: float) -> WidthCounts:
    """Count a network at a width; `input_size` is [N, C, H, W]."""
    with set_width(model, width), statistics_from("batch", model):
        layers = list(any_width_layers(model))
        rows = {row.path: row.macs for row in count(model, input_size).rows}
        masked = 0
        for path, layer in model.named_sublayers():
            if layer in layers and isinstance(layer, Weighted) and rows.get(path):
                dense = layer.active_weight().size
                masked += rows[path] // dense * (dense - layer.weights_in_use())
        macs = sum(rows.values())
        return WidthCounts(parameter_count(model), sum(layer.active_params() for layer in layers), macs, macs - masked)
