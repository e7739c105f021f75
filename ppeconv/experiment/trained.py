"""What a run folder, or a name of the zoo, was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppeconv.engine.run import Run
from ppeconv.pretrained.weights import is_zoo, named

Overrides = Mapping[str, Any] | Sequence[str]


def of_trained(name: str | Path, overrides: Overrides = ()) -> tuple[Path | dict[str, Any], Overrides]:
    """What a run folder, or "zoo:" and a name, was trained with: its config, and what stands above it.

    Weights that a run started from are no longer its weights; those of the zoo are named by the config.
    """
    zoo = is_zoo(name)
    source = named(str(name)).config if zoo else Run(name).saved_config()
    weights = str(name) if zoo else None
    if isinstance(overrides, Mapping):
        return source, {"Global.pretrained_model": weights, **overrides}
    return source, [f"Global.pretrained_model={weights or 'null'}", *overrides]
