"""Configs: YAML files that inherit with `_base_`, overridden with `-o Section.key=value`, checked against a schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppeconv import values as plain
from ppeconv.errors import UserError, nearest
from ppeconv.placement import Places
from ppeconv.registry import DATASETS, HEADS, OPERATORS, OPTIMIZERS, RECALIBRATIONS, placed
from ppeconv.replace import Rules
from ppeconv.schema import Section, check
from ppeconv.sections import (
    AMPSection,
    AnyWidthSection,
    Architecture,
    DataSection,
    GlobalSection,
    InferSection,
    LossSection,
    MetricSection,
    OperatorSection,
    OptimizerSection,
)

FORMAT = 1
"""Version of the config layout; it changes when an older file would be read wrongly."""

_RULES = {OPERATORS: Rules, RECALIBRATIONS: Places, HEADS: Section}
"""What `Operator.rules` may say, by the kind of thing that is put into the network."""


class Config(Section):
    """A whole config. It does not change once checked."""

    format: int = FORMAT
    Global: GlobalSection = GlobalSection()
    Arch: Architecture
    Operator: OperatorSection | list[OperatorSection] | None = None
    AnyWidth: AnyWidthSection | None = None
    Loss: LossSection = LossSection()
    Optimizer: OptimizerSection
    DataLoader: DataSection
    Metric: MetricSection = MetricSection()
    AMP: AMPSection = AMPSection()
    Infer: InferSection = InferSection()

    @property
    def operators(self) -> list[OperatorSection]:
        """The operators in the order in which they are applied."""
        if self.Operator is None:
            return []
        return self.Operator if isinstance(self.Operator, list) else [self.Operator]


def load(name: str, overrides: Sequence[str] = ()) -> Config:
    """The config of that path, or of that name among the shipped ones, with `Section.key=value` overrides."""
    values = plain.read(find(name))
    for setting in overrides:
        plain.override(values, setting)
    return parse(values)


def parse(values: Mapping[str, Any]) -> Config:
    """Plain values as a checked config."""
    version = values.get("format", FORMAT)
    if version != FORMAT:
        raise UserError(
            f"this config has format {version!r}, and this ppeconv reads format {FORMAT}; use the ppeconv that wrote it"
        )
    config = check(Config, values)
    for section in (config.DataLoader.Train.dataset, config.DataLoader.Eval.dataset):
        DATASETS.check(section.name, section.arguments)
    for section in config.operators:
        kind = placed(section.name)
        kind.check(section.name, section.arguments)
        if section.rules is not None:
            check(_RULES[kind], section.rules, "Operator.rules")
    OPTIMIZERS.check(config.Optimizer.name, config.Optimizer.arguments)
    return config


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """A copy with dotted keys set: `{"Arch.class_num": 10}`."""
    whole = config.model_dump()
    for key, value in values.items():
        plain.assign(whole, key.split("."), value)
    return parse(whole)


def dump(config: Config) -> str:
    """The config as YAML that `load` reads back as the same."""
    return plain.to_yaml(config.model_dump())


def find(name: str) -> Path:
    """The file of a config: a path, or the bare name of a shipped config."""
    shipped = {path.stem: path for path in sorted(_shipped_folder().glob("*.yaml"))}
    path = Path(name)
    if path.is_file():
        return path
    if name in shipped:
        return shipped[name]
    raise UserError(f"there is no config {name}{nearest(path.stem, shipped)}")


def shipped() -> list[str]:
    """Names of the configs that come with ppeconv."""
    return sorted(path.stem for path in _shipped_folder().glob("*.yaml"))


def schedule(name: str) -> Path:
    """The file of a shipped schedule."""
    path = _shipped_folder() / "_base_" / "schedules" / f"{name}.yaml"
    if not path.is_file():
        raise UserError(
            f"there is no schedule {name}{nearest(name, [file.stem for file in path.parent.glob('*.yaml')])}"
        )
    return path


def _shipped_folder() -> Path:
    installed = Path(__file__).parent / "configs"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "configs"
