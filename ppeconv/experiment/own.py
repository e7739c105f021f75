"""Networks and data that Python gives itself: what a config says in their place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddle import nn

from ppeconv.backbones.external import PYTHON
from ppeconv.config.files import find, inherit, merge, read
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
_SIDES = {"Train": "train", "Eval": "test"}


def source(config: str | Path | Mapping[str, Any] | None, sets: Mapping[str, GivenSet]) -> Any:
    """What a config is read from; below it stands what is not said of data sets of one's own."""
    if config is None and not sets:
        raise UserError("name a config, such as Experiment('lenet_spconv_digits'), or give data=(train, test)")
    if config is not None and not isinstance(config, (str, Path, Mapping)):
        raise UserError(f"a config is a file, a shipped one's name or a mapping of sections; got {_kind(config)}")
    if not sets:
        return config
    values = read(find(str(config))) if isinstance(config, (str, Path)) else inherit(config or {})
    whole = isinstance(config, (str, Path)) or "_base_" in (config or {})
    sides = {side: {"dataset": _halves(sets[split].channels)} for side, split in _SIDES.items()}
    return merge(merge({} if whole else inherit(RECIPE), {"DataLoader": sides}), values)


def names(model: nn.Layer | None, sets: Mapping[str, GivenSet]) -> dict[str, str]:
    """What a config says in place of a network and data sets of one's own, by dotted key."""
    if model is not None and not isinstance(model, nn.Layer):
        raise UserError(f"model is a paddle.nn.Layer that gives class scores; got {_kind(model)}")
    network = {} if model is None else {"Arch.name": f"{PYTHON}{type(model).__name__}"}
    return network | {f"DataLoader.{side}.dataset.name": "Given" for side, split in _SIDES.items() if split in sets}


def _halves(channels: int) -> dict[str, Any]:
    return {"transform_ops": [{"Normalize": {"mean": [0.5] * channels, "std": [0.5] * channels}}]}


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
