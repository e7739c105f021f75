"""What an exported network has to know about its images."""

from __future__ import annotations

from typing import Any

from ppeconv.config import Config
from ppeconv.engine.setup import transforms


def prediction_facts(config: Config) -> dict[str, Any]:
    """The part of `inference.yml` that comes from the run: classes and transforms."""
    operations = transforms(config, "test")
    resized = any(name in ("CenterCrop", "Resize") for operation in operations for name in operation)
    resize = [] if resized else [{"Resize": {"size": config.Infer.image_shape[1:]}}]
    return {
        "class_names": config.Infer.class_names,
        "transform_ops": [*resize, *operations],
        "arch": config.Arch.name,
        "operators": [section.name for section in config.operators],
    }
