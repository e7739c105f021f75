"""What to know of an operator in place of a convolution: why it cannot stand there, what it loses, what it saves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.layers.folding import hooked
from ppeconv.layers.handover import lost
from ppeconv.layers.parameters import own_parameters
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.conv2d import Conv2D
from ppeconv.operators.cost import Cost
from ppeconv.operators.passage import Passage
from ppeconv.surgery.sites import Site


def refusal(make: type[ConvOperator], geometry: ConvGeometry, own: Any) -> str:
    """Why the operator cannot stand in for such a convolution; empty where it can."""
    try:
        make.check(geometry, own)
    except Unsupported as refusal:
        return str(refusal)
    return ""


def remarks(make: type[ConvOperator], site: Site, inherited: bool, passage: Passage | None) -> Iterator[str]:
    """What the user should know of one replacement."""
    yield from lost(site.succession)
    parameters = [p for conv in site.layers for p in own_parameters(conv).values()]
    if not inherited and all(parameter.stop_gradient for parameter in parameters):
        yield "frozen as before, although the weights are new: let them be trained (stop_gradient = False)"
    if passage and any(hooked(layer) for layer in site.succession):
        yield passage.hooks
    yield from _nothing_saved(make, site)


_LARGE_MAP = 64
"""Side of a feature map beside which kernels are small: the ratio of MACs depends little on it."""


def _nothing_saved(make: type[ConvOperator], site: Site) -> Iterator[str]:
    """A remark where the operator has neither fewer parameters nor fewer MACs than what it replaces."""
    plain = site.plain_cost(_LARGE_MAP, _LARGE_MAP)

    def cost(own: Any) -> Cost:
        return make.cost(site.geometry, _LARGE_MAP, _LARGE_MAP, own)

    ours = cost(site.own)
    if make is Conv2D or ours.params < plain.params or ours.macs < plain.macs:
        return
    lighter = (
        f"{name}={value}"
        for name, values in make.lighter.items()
        for value in values
        if not refusal(make, site.geometry, other := site.own.model_copy(update={name: value}))
        and cost(other) != plain
        and all(less <= more for less, more in zip(cost(other), plain, strict=True))
    )
    advice = next(lighter, None)
    yield f"saves neither parameters nor MACs{f'; {advice} would' if advice else ''}"
