"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paddle
from paddle import nn


class WeightAverage:
    """A moving average of everything in a network's state: average = decay * average + (1 - decay) * value.

    The decay grows as (1 + updates) / (10 + updates) up to the given one, so that the start is forgotten.
    """

    def __init__(self, model: nn.Layer, decay: float):
        self.model, self.decay, self.updates = model, decay, 0
        self.values = {name: value.clone() for name, value in model.state_dict().items()}

    @paddle.no_grad()
    def update(self) -> None:
        """Take in the network's present values."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.values[name].set_value(decay * self.values[name] + (1 - decay) * value)
            else:
                self.values[name].set_value(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network holds the averages while this is open."""
        present = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.set_state_dict(self.values)
        try:
            yield
        finally:
            self.model.set_state_dict(present)

    def state(self) -> dict[str, Any]:
        """Arrays and the count of updates."""
        return {"updates": self.updates, "values": {name: value.numpy() for name, value in self.values.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave."""
        self.updates = state["updates"]
        for name, value in state["values"].items():
            self.values[name].set_value(value)
