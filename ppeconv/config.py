"""Configs: YAML files that inherit with `_base_`, overridden with `-o Section.key=value`, checked against a schema."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, ConfigDict, Field

from ppeconv.errors import UserError, nearest
from ppeconv.placement import Places
from ppeconv.registry import (
    BACKBONES,
    DATASETS,
    HEADS,
    LOSSES,
    MIXTURES,
    OPERATORS,
    OPTIMIZERS,
    RECALIBRATIONS,
    SCHEDULES,
    TRANSFORMS,
    Registry,
    placed,
)
from ppeconv.replace import Rules
from ppeconv.schema import Section, check

FORMAT = 1
"""Version of the config layout; it changes when an older file would be read wrongly."""


class _Loader(yaml.SafeLoader):
    """YAML without code, in which 3e-4 is a number (YAML 1.1 wants 3.0e-4)."""


class _Dumper(yaml.SafeDumper):
    """Quotes the strings that `_Loader` would take for numbers."""


for _flavour in (_Loader, _Dumper):
    _flavour.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )


_RULES = {OPERATORS: Rules, RECALIBRATIONS: Places, HEADS: Section}
"""What `Operator.rules` may say, by the kind of thing that is put into the network."""


class Named(Section):
    """One thing out of a registry: its name, the rest are its arguments."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        """What is given besides the name."""
        return dict(self.model_extra or {})


def _of(registry: Registry) -> BeforeValidator:
    def known(value: Any) -> Any:
        if isinstance(value, Mapping) and isinstance(value.get("name"), str):
            arguments = {key: argument for key, argument in value.items() if key not in ("name", "rules", "lr")}
            registry.check(value["name"], arguments)
        return value

    return BeforeValidator(known)


def _list_of(registry: Registry) -> BeforeValidator:
    def known(value: Any) -> Any:
        for entry in value if isinstance(value, list) else []:
            if not isinstance(entry, Mapping) or len(entry) != 1:
                raise UserError(f"a {registry.kind} is written 'Name: {{arguments}}'; got {entry!r}")
            for name, arguments in entry.items():
                registry.check(name, arguments or {})
        return value

    return BeforeValidator(known)


def _architecture(value: Any) -> Any:
    from ppeconv.backbones.external import is_external

    if isinstance(value, Mapping) and isinstance(value.get("name"), str) and not is_external(value["name"]):
        own = {
            key: argument for key, argument in value.items() if key not in ("name", "class_num", "pretrained", "freeze")
        }
        BACKBONES.check(value["name"], own)
    return value


class GlobalSection(Section):
    """The run as a whole."""

    output_dir: str = "output"
    """Run folders are made in here."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    cpu_backend: Literal["auto", "onednn", "paddle"] = "auto"
    """What computes convolutions on a CPU (docs/cpu_training.md); auto means $PPECONV_CPU_BACKEND, else the fastest."""
    seed: int = 42
    data_root: str | None = None
    """Folder of the data sets; $PPECONV_DATA, else `dataset`, when not given."""
    epochs: int = Field(default=200, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    """End the run after that many steps."""
    eval_interval: int = Field(default=1, ge=1)
    """Epochs between evaluations; the last epoch is always evaluated."""
    print_batch_step: int = Field(default=50, ge=1)
    """Steps between log lines."""
    update_freq: int = Field(default=1, ge=1)
    """Batches whose gradients are added up before one update."""
    auto_scale_lr: int | None = Field(default=None, ge=1)
    """Images per update that the learning rates are for: with N times as many, N times the rates (arXiv 1706.02677)."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, which is then what is evaluated and kept as best_model."""
    early_stop: int | None = Field(default=None, ge=1)
    """Evaluations without a better top-1 after which the run ends."""
    use_visualdl: bool = True
    overwrite: bool = False
    """Start anew where a run folder exists."""
    checkpoints: str | None = None
    """Resume: `auto`, a run folder, or the prefix of a checkpoint."""
    save_interval: int | None = Field(default=None, ge=1)
    """Epochs between checkpoints `epoch_N` that are kept, besides `latest` and `previous`."""
    save_step_interval: int | None = Field(default=None, ge=1)
    """Steps between checkpoints within an epoch."""
    pretrained_model: str | None = None
    """Weights to start from, or to evaluate and export: a path with or without .pdparams."""
    save_inference_dir: str | None = None
    """Where export writes; `<run>/inference` when not given."""


class ArchSection(Named):
    """The backbone and its arguments."""

    class_num: int | None = Field(default=None, ge=1)
    """Number of classes; that of the data set when not given."""
    pretrained: bool | str = False
    """Weights to start from: `true` for paddle.vision's ImageNet weights, or a path, or a run folder."""
    freeze: list[str] = []
    """Shell patterns of parameter names that are not trained."""


class OperatorSection(Named):
    """An operator, recalibration block or head, its arguments and where it goes."""

    rules: dict[str, Any] | None = None
    """Which convolutions are replaced; for a recalibration block, behind which layers it goes."""


class AnyWidthSection(Section):
    """A network that runs at any width (docs/anywidth.md)."""

    kind: Literal["awn", "snet", "usnet"]
    """Triangular layers and one batch norm; a batch norm for each width; one that is calibrated after training."""
    base_width: float | None = Field(default=None, gt=0)
    """Width of the backbone; AWN takes 1.4142, which keeps the weights in use level."""
    widths: list[float] = [1.0, 0.75, 0.5, 0.25]
    """Widths of k-width training, and of an S-Net's norms."""
    min_width: float = Field(default=0.25, gt=0, le=1)
    """Narrowest width of random training and of evaluation."""
    divisor: int = Field(default=1, ge=1)
    """A narrowed number of channels is a multiple of it; 1 rounds as Python does."""
    whole: list[str] | None = None
    """Shell patterns of layers whose outputs are never cut; those that the backbone names when not given."""
    sampling: Literal["k-width", "n-random", "one-per-interval", "sandwich"] = "k-width"
    """Which widths a step trains."""
    samples: int = Field(default=4, ge=1)
    """Widths of a step with random ones."""
    distill: bool = False
    """Only the widest of a step learns from the labels, the others from its predictions."""
    calibration_images: int = Field(default=1024, ge=1)
    """Training images from which a US-Net measures its statistics."""


class LossSection(Section):
    """What training minimises and what evaluation reports, lists of `Name: {weight, ...}`."""

    Train: Annotated[list[dict[str, Any]], _list_of(LOSSES)] = [{"CELoss": {"weight": 1.0}}]
    Eval: Annotated[list[dict[str, Any]], _list_of(LOSSES)] = [{"CELoss": {"weight": 1.0}}]


class OptimizerSection(Named):
    """The optimizer, its schedule and its arguments."""

    lr: Annotated[Named, _of(SCHEDULES)]


class SamplerSection(Section):
    """How images become batches."""

    batch_size: int = Field(default=128, ge=1)
    """Images per batch of one process."""
    shuffle: bool = False
    drop_last: bool = False


class LoaderSection(Section):
    """Who prepares the batches."""

    num_workers: int = Field(default=0, ge=0)


class SetSection(Named):
    """A data set, its arguments and the transforms of its images."""

    transform_ops: Annotated[list[dict[str, Any]], _list_of(TRANSFORMS)]
    batch_transform_ops: Annotated[list[dict[str, Any]], _list_of(MIXTURES)] = []
    """Mixtures of training images, one chosen at random for each batch."""


class SplitSection(Section):
    """One of the two sides of the data."""

    dataset: SetSection
    sampler: SamplerSection = SamplerSection()
    loader: LoaderSection = LoaderSection()


class DataSection(Section):
    """Training and evaluation data."""

    Train: SplitSection
    Eval: SplitSection


class MetricSection(Section):
    """What evaluation counts besides the loss."""

    topk: list[int] = [1, 5]
    """Top-k accuracies, clipped to the number of classes."""


class AMPSection(Section):
    """Mixed precision, on a GPU."""

    use_amp: bool = False
    level: Literal["O1", "O2"] = "O1"
    scale_loss: float = 32768.0
    use_dynamic_loss_scaling: bool = True


class InferSection(Section):
    """What prediction needs to know; a run fills it in from its data."""

    image_shape: list[int] | None = None
    class_names: list[str] | None = None


class Config(Section):
    """A whole config. It does not change once checked."""

    format: int = FORMAT
    Global: GlobalSection = GlobalSection()
    Arch: Annotated[ArchSection, BeforeValidator(_architecture)]
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
    values = _read(find(name), ())
    for override in overrides:
        _apply(values, override)
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
    plain = config.model_dump()
    for key, value in values.items():
        _set(plain, key.split("."), value)
    return parse(plain)


def dump(config: Config) -> str:
    """The config as YAML that `load` reads back as the same."""
    return to_yaml(config.model_dump())


def to_yaml(values: Mapping[str, Any]) -> str:
    """Plain values as YAML, innermost lists and mappings on one line."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


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


def _shipped_folder() -> Path:
    installed = Path(__file__).parent / "configs"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "configs"


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"{where} is not valid YAML{place}: {getattr(error, 'problem', error)}") from None


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """A file's values on top of those of its `_base_` files."""
    if path.resolve() in above:
        raise UserError(f"{path} has itself as _base_")
    try:
        values = _parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        named_by = f" (a _base_ of {above[-1]})" if above else ""
        raise UserError(f"cannot read the config {path}{named_by}: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} should hold sections such as Global and Arch; got {type(values).__name__}")
    bases = values.pop("_base_", [])
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        merged = _merge(merged, _read(path.parent / base, (*above, path.resolve())))
    return _merge(merged, values)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` on top of `below`; a mapping that names another thing replaces, as its arguments are other ones."""
    if "name" in above and "name" in below and above["name"] != below["name"]:
        return dict(above)
    both = dict(below)
    for key, value in above.items():
        nested = isinstance(value, Mapping) and isinstance(both.get(key), Mapping)
        both[key] = _merge(both[key], value) if nested else value
    return both


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"-o takes Section.key=value, such as Global.epochs=1; got {override!r}")
    _set(values, key.strip().split("."), _parse_yaml(text, f"the value of -o {key}"))


def _set(values: Any, path: Sequence[str], value: Any) -> None:
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(values, list):
            if not part.isdigit() or int(part) >= len(values):
                raise UserError(
                    f"{'.'.join(path[:depth])} is a list of {len(values)}; {part!r} is not one of its "
                    f"positions 0 to {len(values) - 1}"
                )
            part = int(part)
        elif not isinstance(values, dict):
            raise UserError(f"{'.'.join(path[:depth])} is the value {values!r} and has no key {part!r}")
        if last:
            values[part] = value
        elif isinstance(values, dict) and values.get(part) is None:
            values[part] = {}
        values = values if last else values[part]
