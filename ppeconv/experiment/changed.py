"""What a run that goes on is trained with differently than before."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

from ppeconv.config import Config
from ppeconv.schema.values import on_one_line

_OF_NO_EFFECT = (
    *("Global.output_dir", "Global.data_root", "Global.checkpoints", "Global.overwrite", "Global.save_*"),
    *("Global.print_batch_step", "Global.use_visualdl", "Global.pretrained_model", "DataLoader.*.loader.num_workers"),
    *("Global.device", "Global.cpu_backend"),  # what they lead to is part of every checkpoint
)
"""On what is trained."""


def changed_settings(before: Config, now: Config) -> str:
    """The settings that change what a run comes to, as a sentence; "" where there are none."""
    old, new = (dict(_settings(config.model_dump())) for config in (before, now))
    changed = [
        f"{key} {_text(old.get(key))} before, {_text(new.get(key))} now"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key) and not any(fnmatch.fnmatch(key, pattern) for pattern in _OF_NO_EFFECT)
    ]
    return f"going on with other settings: {'; '.join(changed)}" if changed else ""


def _settings(values: Mapping[str, Any], head: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys with their values."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _settings(value, f"{head}{key}.")
        else:
            yield f"{head}{key}", value


def _text(value: Any) -> str:
    return on_one_line({"x": value})[len("{x: ") : -len("}")]
