"""Configs: YAML files that inherit with `_base_`, overridden with `-o Section.key=value`, checked against a schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppeconv.config.files import find, inherit, read, shipped
from ppeconv.config.overrides import override
from ppeconv.config.sections import FORMAT, Config
from ppeconv.errors import UserError
from ppeconv.schema import check
from ppeconv.schema.values import to_yaml

__all__ = ["Config", "dump", "find", "load", "shipped", "with_values"]


def load(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] | Mapping[str, Any] = (),
    given: Mapping[str, Any] | None = None,
) -> Config:
    """The config of a file, of a name among the shipped ones, or of sections as a mapping.

    Args:
        source: where from; a mapping may have a `_base_`, as a file may.
        overrides: `Section.key=value` texts, or values by dotted key.
        given: values by dotted key that stand above the overrides.
    """
    values = inherit(source) if isinstance(source, Mapping) else read(find(str(source)))
    override(values, overrides)
    override(values, given or {})
    if (version := values.get("format", FORMAT)) != FORMAT:
        raise UserError(
            f"this config has format {version!r}, and this ppeconv reads format {FORMAT}; use the ppeconv that wrote it"
        )
    return check(Config, values)


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """A copy with dotted keys set: `{"Arch.class_num": 10}`; sections without one are kept as they were checked."""
    changed = {key.partition(".")[0] for key in values}
    whole = {name: value if name in changed else getattr(config, name) for name, value in config.model_dump().items()}
    override(whole, values)
    return check(Config, whole)


def dump(config: Config) -> str:
    """The config as YAML that `load` reads back as the same."""
    return to_yaml(config.model_dump())
