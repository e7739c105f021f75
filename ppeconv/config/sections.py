"""The sections of a config: every key, its type and its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, PrivateAttr

from ppeconv.config.relations import check_relations
from ppeconv.domains import (
    DISTINCT,
    SOME,
    Channels,
    Classes,
    Count,
    FilePath,
    ImageShape,
    LossScale,
    Multiplier,
    Natural,
    Pixels,
    Samples,
    Seed,
    Share,
    ShareOrAll,
    Workers,
)
from ppeconv.errors import UserError
from ppeconv.registry import (
    BACKBONES,
    BRANCHES,
    DATASETS,
    HEADS,
    LOSSES,
    MIXTURES,
    OPERATORS,
    OPTIMIZERS,
    RECALIBRATIONS,
    SCHEDULES,
    TRANSFORMS,
    Choice,
    Registry,
    placed,
)
from ppeconv.schema import Section, check
from ppeconv.surgery.rules import Blocks, Places, Rules

FORMAT = 1
"""Version of the config layout; it changes when an older file would be read wrongly."""
_RULES: dict[Registry, type[Section]] = {
    OPERATORS: Rules,
    RECALIBRATIONS: Places,
    HEADS: Section,
    BRANCHES: Blocks,
}
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
        own = {key: argument for key, argument in value.items() if key not in ArchSection.model_fields}
        BACKBONES.check(value["name"], own)
    return value


class GlobalSection(Section):
    """The run as a whole."""

    output_dir: FilePath = "output"
    """Run folders are made in here."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    cpu_backend: Literal["auto", "onednn", "paddle"] = "auto"
    """What computes convolutions on a CPU (docs/cpu_training.md); auto means $PPECONV_CPU_BACKEND, else the fastest."""
    seed: Seed = 42
    data_root: FilePath | None = None
    """Folder of the data sets; $PPECONV_DATA, else `dataset`, when not given."""
    epochs: Count = 200
    max_steps: Count | None = None
    """End the run after that many steps."""
    eval_interval: Count = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    print_batch_step: Count = 50
    """Steps between log lines."""
    update_freq: Count = 1
    """Batches whose gradients are added up before one update."""
    auto_scale_lr: Count | None = None
    """Images per update that the learning rates are for: with N times as many, N times the rates (arXiv 1706.02677)."""
    ema: Share | None = None
    """Decay of an exponential moving average of the weights, which is then what is evaluated and kept as best_model."""
    early_stop: Count | None = None
    """Evaluations without a better top-1 after which the run ends."""
    skip_nonfinite: Natural = 0
    """Updates that a run leaves out because a loss or gradient is not finite, each in the log; one more ends it."""
    use_visualdl: bool = True
    overwrite: bool = False
    """Start anew where a run folder exists."""
    checkpoints: FilePath | None = None
    """Resume: `auto`, a run folder, or the prefix of a checkpoint."""
    save_interval: Count | None = None
    """Epochs between checkpoints `epoch_N` that are kept, besides `latest` and `previous`."""
    save_step_interval: Count | None = None
    """Steps between checkpoints within an epoch."""
    pretrained_model: FilePath | None = None
    """Weights to start from, or to evaluate and export: a path with or without .pdparams, or `zoo:NAME`."""
    save_inference_dir: FilePath | None = None
    """Where export writes; `<run>/inference` when not given."""


class ArchSection(Named):
    """The backbone and its arguments."""

    class_num: Classes | None = None
    """Number of classes; that of the data set when not given."""
    pretrained: bool | FilePath = False
    """Weights to start from: `true` for paddle.vision's ImageNet weights, `zoo` for those that come with ppeconv for
    this very network or `zoo:NAME` for others of them, or a path, or a run folder."""
    init: Literal["reference", "paddle"] = "reference"
    """How weights start: by the rule of the backbone's paper or reference code, or by Paddle's initializers."""
    freeze: list[str] = []
    """Shell patterns of parameter names that are not trained."""


Architecture = Annotated[ArchSection, BeforeValidator(_architecture)]
"""An ArchSection whose arguments are those of its backbone."""


class OperatorSection(Named):
    """An operator, recalibration block, head or change of residual branches, its arguments and where it goes."""

    rules: dict[str, Any] | None = None
    """Which convolutions are replaced; for a recalibration block, behind which layers it goes; for a change of
    branches, which residual blocks."""
    init: Literal["from_dense"] | None = None
    """Operators alone: `from_dense` fits the new layers to the trained convolutions of `Arch.pretrained`."""
    _choice: Choice = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Check the arguments once and for all."""
        self._choice = placed(self.name).choose(self.name, self.model_extra or {})

    @property
    def choice(self) -> Choice:
        """The operator with its arguments as they were checked."""
        return self._choice


class AnyWidthSection(Section):
    """A network that runs at any width (docs/anywidth.md)."""

    kind: Literal["awn", "snet", "usnet"]
    """Triangular layers and one batch norm; a batch norm for each width; one that is calibrated after training."""
    base_width: Multiplier | None = None
    """Width of the backbone; AWN takes 1.4142, which keeps the weights in use level."""
    widths: Annotated[list[ShareOrAll], SOME, DISTINCT] = [1.0, 0.75, 0.5, 0.25]
    """Widths of k-width training, and of an S-Net's norms."""
    min_width: ShareOrAll = 0.25
    """Narrowest width of random training and of evaluation."""
    divisor: Channels = 1
    """A narrowed number of channels is a multiple of it; 1 rounds as Python does."""
    whole: list[str] | None = None
    """Shell patterns of layers whose outputs are never cut; those that the backbone names when not given."""
    sampling: Literal["k-width", "n-random", "one-per-interval", "sandwich"] = "k-width"
    """Which widths a step trains."""
    samples: Samples = 4
    """Widths of a step with random ones."""
    distill: bool = False
    """Only the widest of a step learns from the labels, the others from its predictions."""
    calibration_images: Count = 1024
    """Training images from which a US-Net measures its statistics."""


class LossSection(Section):
    """What training minimises and what evaluation reports, lists of `Name: {weight, ...}`."""

    Train: Annotated[list[dict[str, Any]], SOME, _list_of(LOSSES)] = [{"CELoss": {"weight": 1.0}}]
    Eval: Annotated[list[dict[str, Any]], SOME, _list_of(LOSSES)] = [{"CELoss": {"weight": 1.0}}]


class OptimizerSection(Named):
    """The optimizer, its schedule and its arguments."""

    lr: Annotated[Named, _of(SCHEDULES)]


class SamplerSection(Section):
    """How images become batches."""

    batch_size: Count = 128
    """Images per batch of one process."""
    shuffle: bool = False
    drop_last: bool = False


class LoaderSection(Section):
    """Who prepares the batches."""

    num_workers: Workers = 0
    skip_unreadable: Natural = 0
    """Images that cannot be read which training goes on without, each named in the log; one more ends it."""


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

    image_size: Pixels | None = None
    """Pixels of a side of the images, for transforms without a `size`; a Resize before a CenterCrop takes 8/7 of it."""
    Train: SplitSection
    Eval: SplitSection


class MetricSection(Section):
    """What evaluation counts besides the loss."""

    topk: Annotated[list[Count], SOME] = [1, 5]
    """Top-k accuracies, clipped to the number of classes."""


class AMPSection(Section):
    """Mixed precision, on a GPU, and on a CPU that computes in bf16."""

    use_amp: bool = False
    level: Literal["O1", "O2"] = "O1"
    scale_loss: LossScale = 32768.0
    use_dynamic_loss_scaling: bool = True


class InferSection(Section):
    """What prediction needs to know; a run fills it in from its data."""

    image_shape: ImageShape | None = None
    class_names: Annotated[list[str], DISTINCT] | None = None


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

    def model_post_init(self, context: Any) -> None:
        """Check what goes beyond one section's own keys."""
        for dataset in (self.DataLoader.Train.dataset, self.DataLoader.Eval.dataset):
            DATASETS.check(dataset.name, dataset.arguments)
        for section in self.operators:
            if section.rules is not None:
                check(_RULES[section.choice.kind], section.rules, "Operator.rules")
            if section.init and section.choice.kind is not OPERATORS:
                raise UserError(
                    f"Operator.init is for what replaces convolutions; {section.name} does not, leave it out"
                )
        OPTIMIZERS.check(self.Optimizer.name, self.Optimizer.arguments)
        check_relations(self)

    @property
    def operators(self) -> list[OperatorSection]:
        """The operators in the order in which they are applied."""
        if self.Operator is None:
            return []
        return self.Operator if isinstance(self.Operator, list) else [self.Operator]
