"""Configs: YAML files that inherit with `_base_`, overridden with `-o Section.key=value`, checked against a schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppeconv.config.files import find, inherit, read, shipped
from ppeconv.config.overrides import assign, override
from ppeconv.config.relations import check_relations
from ppeconv.config.sections import FORMAT, Config
from ppeconv.errors import UserError
from ppeconv.registry import DATASETS, HEADS, OPERATORS, OPTIMIZERS, RECALIBRATIONS, Registry
from ppeconv.schema import Section, check, keys_at
from ppeconv.schema.values import to_yaml
from ppeconv.surgery.rules import Places, Rules

__all__ = ["Config", "dump", "find", "load", "parse", "plain", "shipped", "with_values"]

_RULES: dict[Registry, type[Section]] = {OPERATORS: Rules, RECALIBRATIONS: Places, HEADS: Section}
"""What `Operator.rules` may say, by the kind of thing that is put into the network."""


def load(source: str | Path | Mapping[str, Any], overrides: Sequence[str] | Mapping[str, Any] = ()) -> Config:
    """The config of a file, of a name among the shipped ones, or of sections as a mapping.

    Args:
        source: where from; a mapping may have a `_base_`, as a file may.
        overrides: `Section.key=value` texts, or values by dotted key.
    """
    return parse(plain(source, overrides))


def plain(source: str | Path | Mapping[str, Any], overrides: Sequence[str] | Mapping[str, Any] = ()) -> dict[str, Any]:
    """What `load` checks, before the check."""
    values = inherit(source) if isinstance(source, Mapping) else read(find(str(source)))
    override(values, overrides, lambda path: keys_at(Config, path))
    return values


def parse(values: Mapping[str, Any]) -> Config:
    """Plain values as a checked config."""
    version = values.get("format", FORMAT)
    if version != FORMAT:
        raise UserError(
            f"this config has format {version!r}, and this ppeconv reads format {FORMAT}; use the ppeconv that wrote it"
        )
    config = check(Config, values)
    for dataset in (config.DataLoader.Train.dataset, config.DataLoader.Eval.dataset):
        DATASETS.check(dataset.name, dataset.arguments)
    for section in config.operators:
        if section.rules is not None:
            check(_RULES[section.choice.kind], section.rules, "Operator.rules")
    OPTIMIZERS.check(config.Optimizer.name, config.Optimizer.arguments)
    check_relations(config)
    return config


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """A copy with dotted keys set: `{"Arch.class_num": 10}`; sections without one are kept as they were checked."""
    changed = {key.partition(".")[0] for key in values}
    whole = {name: value if name in changed else getattr(config, name) for name, value in config.model_dump().items()}
    for key, value in values.items():
        assign(whole, key.split("."), value)
    return parse(whole)


def dump(config: Config) -> str:
    """The config as YAML that `load` reads back as the same."""
    return to_yaml(config.model_dump())
