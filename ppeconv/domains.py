"""What a config value may be: the numbers, lists and paths that keys and arguments declare.

A key or an argument has one of these types, and nothing else says what it takes: the check, the message of a refusal
(`ppeconv.schema.wording`) and docs/config.md follow from it. Bounds keep out what has no meaning and what no machine
could hold; NaN and infinity are refused everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field


def _rule(words: str, holds: Callable[[Any], bool]) -> AfterValidator:
    """What bounds cannot say of a value, in words and as a test."""

    def check(value: Any) -> Any:
        if not holds(value):
            raise ValueError(words)
        return value

    check.words = words  # type: ignore[attr-defined]  # ppeconv.wording reads it
    return AfterValidator(check)


def expanded(path: str) -> str:
    """A path with `~` as the home folder."""
    return str(Path(path).expanduser()) if path.startswith("~") else path


def _has_short_names(path: bytes) -> bool:
    """Whether a file system can hold it."""
    return len(path) <= 4095 and all(len(name) <= 255 for name in path.split(b"/"))


ODD = _rule("odd", lambda value: value % 2 == 1)
ASCENDING = _rule("in ascending order", lambda values: all(low < high for low, high in pairwise(values)))
LOW_TO_HIGH = _rule("the smaller first", lambda values: values[0] <= values[1])
DISTINCT = _rule("each once", lambda values: len(set(values)) == len(values))
SOME, PAIR = Field(min_length=1), Field(min_length=2, max_length=2)

LayerNames = Annotated[Sequence[str], DISTINCT]
"""Paths of layers, such as layer1.0."""

FilePath = Annotated[
    str,
    AfterValidator(expanded),
    _rule("not empty", bool),
    _rule("without a NUL character", lambda path: "\0" not in path),
    _rule("with names of at most 255 bytes, 4095 in all", lambda path: _has_short_names(os.fsencode(path))),
]
"""A file or folder; `~` is the home folder."""

Count = Annotated[int, Field(ge=1, le=10**9)]
"""How many of something there are, one at least."""
Natural = Annotated[int, Field(ge=0, le=10**9)]
"""A count that may be zero."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""Paddle's generators take 32 bits; a larger seed would repeat a smaller one."""
Samples = Annotated[int, Field(ge=1, le=1000)]
"""Random widths of one step."""
Threads = Annotated[int, Field(ge=1, le=1024)]
Workers = Annotated[int, Field(ge=0, le=256)]
Classes = Annotated[int, Field(ge=1, le=10**6)]
Channels = Annotated[int, Field(ge=1, le=4096)]
"""Channels of a layer, or groups of them."""
Pixels = Annotated[int, Field(ge=1, le=16384)]
"""The side of an image or of a feature map."""
ImageShape = Annotated[list[Pixels], Field(min_length=3, max_length=3)]
"""[C, H, W]."""
MapSize = Annotated[list[Pixels], PAIR]
"""[H, W]."""
Padding = Annotated[int, Field(ge=0, le=16384)]
Scales = Annotated[int, Field(ge=2, le=64)]
"""The splits of Res2Net."""
KernelSide = Annotated[int, Field(ge=1, le=63)]
OddKernelSide = Annotated[int, Field(ge=1, le=63), ODD]
Stride = Annotated[int, Field(ge=1, le=16)]

Probability = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
"""A part of something, neither nothing nor all of it."""
ShareOrNone = Annotated[float, Field(ge=0, lt=1)]
"""A part that may be nothing, never all: a dropout, a momentum."""
ShareOrAll = Annotated[float, Field(gt=0, le=1)]
"""A part that may be all, never nothing: a width, a crop's share of the area."""
AreaRange = Annotated[Sequence[ShareOrAll], PAIR, LOW_TO_HIGH]
"""Smallest and largest share of an image's area."""
Aspect = Annotated[float, Field(ge=0.01, le=1)]
"""Smallest height / width, or width / height, whichever is below 1."""
AspectRange = Annotated[Sequence[Annotated[float, Field(ge=0.01, le=100)]], PAIR, LOW_TO_HIGH]
"""Smallest and largest width / height."""
Deviation = Annotated[float, Field(ge=1e-3, le=1)]
"""The standard deviation of pixels from 0 to 1."""
Multiplier = Annotated[float, Field(gt=0, le=16)]
"""What multiplies the channels or the layers of a network."""
Divisor = Annotated[float, Field(ge=1, le=4096)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
NotNegative = Annotated[float, Field(ge=0, le=1e6)]
LossScale = Annotated[float, Field(gt=0, le=2.0**32)]
Rate = Annotated[float, Field(gt=0, le=1e3)]
"""A learning rate."""
RateOrZero = Annotated[float, Field(ge=0, le=1e3)]
Epsilon = Annotated[float, Field(ge=1e-15, le=1)]
"""What keeps a divisor from zero, in float32 too."""
Power = Annotated[float, Field(gt=0, le=100)]
Factor = Annotated[float, Field(ge=1, le=1e6)]
BetaShape = Annotated[float, Field(ge=1e-3, le=1e3)]
"""Of a Beta distribution."""
Temperature = Annotated[float, Field(ge=1e-2, le=1e3)]
Decay = Annotated[float, Field(ge=0, le=10)]
"""A weight decay."""
