"""Networks and data that Python gives itself: what a config says in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paddle import nn

from ppeconv.backbones.external import PYTHON
from ppeconv.config import plain
from ppeconv.config.files import inherit, merge
from ppeconv.config.overrides import assign
from ppeconv.config.sections import ArchSection
from ppeconv.data.given import GivenSet
from ppeconv.errors import UserError

RECIPE = {
    "_base_": ["_base_/schedules/lenet_20e.yaml", "_base_/runtime.yaml"],
    "DataLoader": {
        "Train": {"sampler": {"batch_size": 64, "shuffle": True}},
        "Eval": {"sampler": {"batch_size": 256}},
    },
}
"""What is not said of one's own data: Adam, 20 epochs, 64 images in a batch."""


def described(
    config: str | Path | Mapping[str, Any] | None,
    overrides: Mapping[str, Any] | Sequence[str],
    model: nn.Layer | None,
    sets: Mapping[str, GivenSet],
) -> dict[str, Any]:
    """The values of a config, with a network and data sets of one's own in it by name."""
    if model is not None and not isinstance(model, nn.Layer):
        raise UserError(f"model is a paddle.nn.Layer that gives class scores; got {_kind(model)}")
    if config is None and not sets:
        raise UserError("name a config, such as Experiment('lenet_spconv_digits'), or give data=(train, test)")
    if config is not None and not isinstance(config, (str, Path, Mapping)):
        raise UserError(f"a config is a file, a shipped one's name or a mapping of sections; got {_kind(config)}")
    source = config or {}
    if sets and isinstance(source, Mapping) and "_base_" not in source:
        source = merge(inherit(RECIPE), inherit(source))
    values = plain(source, overrides)
    if model is not None:
        arch = values.get("Arch")
        kept = {key: arch[key] for key in ArchSection.model_fields if key in arch} if isinstance(arch, dict) else {}
        values["Arch"] = {**kept, "name": f"{PYTHON}{type(model).__name__}"}
    for split, side in (("train", "Train"), ("test", "Eval")):
        if split in sets:
            _name_given(values, ["DataLoader", side, "dataset"], sets[split].channels)
    return values


def _name_given(values: dict[str, Any], path: list[str], channels: int) -> None:
    """Put `Given` in place of the data set at a path; its transforms stay, where there are some."""
    section: Any = values
    for part in path:
        section = section.get(part) if isinstance(section, dict) else None
    halves = {"mean": [0.5] * channels, "std": [0.5] * channels}
    transforms = {"transform_ops": [{"Normalize": halves}]}
    if isinstance(section, dict):
        transforms |= {key: section[key] for key in ("transform_ops", "batch_transform_ops") if key in section}
    assign(values, path, {"name": "Given", **transforms})


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
