"""Every layer of a network where it stands, and others put in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paddle import nn

from ppeconv.errors import UserError


@dataclass(frozen=True)
class Place:
    """A layer where it stands: `owner`'s attribute of that name. The network itself is its own owner, of no name."""

    path: str
    owner: nn.Layer
    attribute: str
    layer: nn.Layer

    def put(self, new: nn.Layer) -> None:
        """Set another layer here."""
        if not self.attribute:
            raise TypeError("the network itself stands in no other layer")
        self.owner._sub_layers[self.attribute] = new


def walk(model: nn.Layer, closed: tuple[type[nn.Layer], ...] = ()) -> Iterator[Place]:
    """Every place of a network in the order of registration, the network itself first.

    A layer that stands in several places comes once for each, and is entered at the first.

    Args:
        model: the network.
        closed: kinds of layers that are not entered.
    """
    entered: set[int] = set()

    def below(place: Place) -> Iterator[Place]:
        yield place
        if isinstance(place.layer, closed) or id(place.layer) in entered:
            return
        entered.add(id(place.layer))
        for name, child in list(place.layer._sub_layers.items()):
            if child is not None:
                yield from below(Place(f"{place.path}.{name}" if place.path else name, place.layer, name, child))

    if not isinstance(model, nn.Layer):
        raise UserError(f"a network is a paddle.nn.Layer; got an object of type {type(model).__name__}")
    yield from below(Place("", model, "", model))


def exchange(model: nn.Layer, new: Mapping[int, nn.Layer], closed: tuple[type[nn.Layer], ...] = ()) -> nn.Layer:
    """Put new layers in all the places of others, in place.

    Some networks keep layers in a plain list, tuple or dictionary besides and run them from there, as many heads of
    detectors do; they are exchanged there too.

    Args:
        model, closed: see `walk`.
        new: id of a layer -> what takes its place.

    Returns:
        The network; the new layer where it is itself exchanged.
    """
    if id(model) in new:
        return new[id(model)]
    for place in list(walk(model, closed)):
        if id(place.layer) in new:
            place.put(new[id(place.layer)])
        elif not isinstance(place.layer, closed):
            for name, value in list(vars(place.layer).items()):
                if (changed := _exchanged(value, new)) is not value:
                    vars(place.layer)[name] = changed
    return model


def _exchanged(value: Any, new: Mapping[int, nn.Layer]) -> Any:
    """An attribute with the new layers in it: lists and dictionaries are changed in place, a tuple is made anew."""
    if isinstance(value, nn.Layer):
        return new.get(id(value), value)
    if isinstance(value, (list, dict)):
        for key, entry in list(value.items() if isinstance(value, dict) else enumerate(value)):
            if (changed := _exchanged(entry, new)) is not entry:
                value[key] = changed
    elif type(value) is tuple and any(isinstance(entry, (nn.Layer, list, dict, tuple)) for entry in value):
        entries = tuple(_exchanged(entry, new) for entry in value)
        return entries if any(now is not before for now, before in zip(entries, value, strict=True)) else value
    return value
