"""A network as a list of steps on values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ppeconv.cpu.library import onednn


@dataclass(eq=False)
class Value:
    """What a step gives, a constant, or the network's image.

    `shape` is [-1, ...] with -1 for the batch; images lie channels-last in memory. A constant that goes with an image
    is a vector of one number, or of one for each channel.
    """

    shape: tuple[int, ...]
    constant: np.ndarray | None = None
    same_as: Value | None = None
    """Another value that lies in the same memory, with another shape."""
    offset: int = 0
    """How many numbers behind the beginning of that memory it begins."""
    own_type: int = onednn.FLOAT32

    @property
    def root(self) -> Value:
        """The value that owns the memory."""
        return self if self.same_as is None else self.same_as.root

    @property
    def data_type(self) -> int:
        """The format of its numbers."""
        return self.root.own_type

    @property
    def item_size(self) -> int:
        """Bytes of one of its numbers."""
        return onednn.BYTES[self.data_type]

    def sized(self, batch: int) -> tuple[int, ...]:
        """The shape for a number of images."""
        return batch, *self.shape[1:]


@dataclass
class Post:
    """Something done to each number of a step's result before it is stored: with an operand, or a function of it."""

    kind: int
    operand: Value | None = None
    alpha: float = 0.0
    beta: float = 0.0


@dataclass(eq=False)
class Step:
    """One primitive of oneDNN, or one copy."""

    kind: str
    inputs: list[Value]
    output: Value
    settings: dict[str, Any] = field(default_factory=dict)
    posts: list[Post] = field(default_factory=list)

    @property
    def operands(self) -> list[Value]:
        """All that it reads."""
        return self.inputs + [post.operand for post in self.posts if post.operand is not None]

    @property
    def is_weighted(self) -> bool:
        """Whether its second input is weights."""
        return self.kind in ("convolution", "matmul")

    @property
    def weights(self) -> int:
        """How many it reads."""
        return math.prod(self.inputs[1].shape) if self.is_weighted else 0

    @property
    def products(self) -> int:
        """Multiplications by weights for one image."""
        return self.weights * math.prod(self.output.shape[2:])


@dataclass
class Graph:
    """The steps in the order in which they run."""

    image: Value
    result: Value
    steps: list[Step]

    def set_data_type(self, data_type: int) -> None:
        """Keep images in a format; what comes behind matrix products and softmax, and constants, stay float32."""
        self.image.root.own_type = data_type
        for step in self.steps:
            exact = step.kind in ("matmul", "softmax")
            step.output.root.own_type = onednn.FLOAT32 if exact else step.inputs[0].data_type
