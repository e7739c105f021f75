"""From a config to the parts of a run: data, network, losses, optimizer, listeners, and the trainer of them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from paddle import Tensor, nn

from ppeconv.anywidth import make_anywidth
from ppeconv.backbones.initial import initialise
from ppeconv.config import load, with_values
from ppeconv.data.batches import Batches
from ppeconv.engine import distributed
from ppeconv.engine.anywidth import AnyWidthStep, calibrate_on
from ppeconv.engine.average import WeightAverage
from ppeconv.engine.evaluator import Evaluation, evaluate
from ppeconv.engine.finetune import imagenet_weights
from ppeconv.engine.listener import Listener
from ppeconv.engine.log import LogLines, ProgressBar, logger
from ppeconv.engine.losses import CombinedLoss, Teacher
from ppeconv.engine.mixing import Mixed
from ppeconv.engine.precision import Precision, mixed_precision
from ppeconv.engine.progress import shows_bars
from ppeconv.engine.results import Results
from ppeconv.engine.resume import Checkpoints
from ppeconv.engine.run import Run
from ppeconv.engine.schedules import scaled
from ppeconv.engine.step import Strategy, Supervised
from ppeconv.engine.trainer import Trainer
from ppeconv.engine.weights import load_weights, read_weights, weight_file
from ppeconv.errors import UserError
from ppeconv.experiment.data import FITTING_IMAGES, DataParts
from ppeconv.experiment.trained import of_trained
from ppeconv.extras import installed
from ppeconv.models.create import apply_operator, create_backbone
from ppeconv.observe import require_fit
from ppeconv.pretrained.network import Network
from ppeconv.pretrained.weights import ANY, Weights, is_zoo, trained_in
from ppeconv.registry import LOSSES, OPTIMIZERS, SCHEDULES
from ppeconv.surgery.report import Report

_CONVERTED = "_ppeconv_converted"
"""Where a network of one's own says which sections were put into it, and the reports on that."""


@dataclass(frozen=True)
class Parts(DataParts):
    """What a config describes, made when it is asked for; see `DataParts`."""

    # weights

    def without_start(self) -> Parts:
        """Without weights that a training started from: it has its own now."""
        return replace(self, config=with_values(self.config, {"Global.pretrained_model": None}))

    def with_classes_of_weights(self, run: Run) -> Parts:
        """With the class names of the trained weights, those of a run or of the zoo."""
        if isinstance(source := self._trained(run), Weights):
            return self._with_classes(source.class_names, f"the weights {source.name}")
        return self.with_classes_of(Run(source.parent))

    def starting_weights(self) -> Path | Weights | None:
        """The readable weight file that a run starts from, or None; ImageNet weights are fetched by Paddle."""
        wanted = self.config.Global.pretrained_model or self.config.Arch.pretrained
        if not wanted and self.starts_warm and self.network is None:
            raise UserError(
                "Operator.init: from_dense starts from a trained network without the operator; name its weights in "
                "Arch.pretrained, such as the folder of its run"
            )
        if not wanted:
            return None
        found = imagenet_weights(self.config.Arch.name) if wanted is True else self._before_fitting()._found(wanted)
        read_weights(found)
        return found

    def _before_fitting(self) -> Parts:
        """Those of the network whose trained weights operators with init start from, without these and what follows."""
        kept = list(takewhile(lambda section: not section.init, self.config.operators))
        if len(kept) == len(self.config.operators):
            return self
        values = [section.model_dump() for section in kept]
        return replace(self, config=with_values(self.config, {"Operator": values or None}))

    def _trained(self, run: Run) -> Path | Weights:
        """Where the trained weights are: those of the zoo that it starts from, where nothing was trained yet."""
        name, start = self.config.Global.pretrained_model, self.config.Arch.pretrained
        if not name and not run.exists and isinstance(start, str) and (start == ANY or is_zoo(start)):
            name = start
        return self._found(name or run.path)

    def _found(self, name: str | Path) -> Path | Weights:
        if name == ANY:
            parts = self.filled()
            return trained_in(Network.of(parts.config.model_dump()), parts.config.DataLoader.Train.dataset.name)
        return weight_file(name)

    # network

    def started_model(self, weights: Path | Weights | None, resumed: bool = False) -> tuple[nn.Layer, list[str]]:
        """The network as training begins with it, and what was done, in sentences.

        With Operator.init the weights are those of the network without the operator: they are put in before it, and it
        is fitted to them on some training images; not in a run that is resumed, whose weights are on their way.
        """
        if not self.starts_warm or resumed:
            model, reports = self.model()
            loads = weights is not None and not self.starts_warm
            return model, [*map(str, reports), *([load_weights(model, weights)] if loads else [])]
        notes: list[str] = []
        model, reports = self.model(lambda dense: notes.append(_load_dense(dense, weights)) if weights else None)
        return model, [*notes, *map(str, reports)]

    @property
    def starts_warm(self) -> bool:
        """Whether an operator starts from the trained convolutions that it replaces."""
        return any(section.init for section in self.config.operators)

    def model(self, trained: Callable[[nn.Layer], None] | None = None) -> tuple[nn.Layer, list[Report]]:
        """The network, data facts filled in before, and what each operator changed.

        Args:
            trained: puts trained weights into the network as it is before the first operator with init: from_dense,
                which is then fitted to them; without it all operators have new weights, to be replaced by others.
        """
        if self.network is None:
            section = self.config.Arch
            model = create_backbone(section.name, init="paddle", class_num=section.class_num, **self._arch_arguments())
            require_fit(model, self.config.Infer.image_shape)
            return self._converted(model, trained)
        scores = require_fit(self.network, self.config.Infer.image_shape)
        _require_scores(type(self.network).__name__, scores, self.config.Arch.class_num)
        wanted = repr((self.config.operators, self.config.AnyWidth))
        done, reports = getattr(self.network, _CONVERTED, ("", []))
        if done != wanted:
            _, reports = self._converted(self.network, trained)
            setattr(self.network, _CONVERTED, (wanted, reports))
        return self.network, reports

    def _converted(self, model: nn.Layer, trained: Callable[[nn.Layer], None] | None) -> tuple[nn.Layer, list[Report]]:
        """A network with the operators and at the widths of the config."""
        config, reports, started = self.config, [], False
        size = [1, *config.Infer.image_shape]
        for section in config.operators:
            fitted = trained is not None and section.init is not None
            if trained and fitted and not started:
                initialise(model, config.Arch.name, config.Arch.init)
                trained(model)
                started = True
            images = [batch for batch, _ in self.plain_images("train", FITTING_IMAGES)] if fitted else None
            model, report = apply_operator(model, section.choice, section.rules, size, images)
            reports.append(report)
        if not started:
            initialise(model, config.Arch.name, config.Arch.init)
        if any_width := config.AnyWidth:
            conversion = any_width.model_dump(include={"kind", "widths", "min_width", "divisor", "whole"})
            make_anywidth(model, **conversion, input_size=size)
        return model, reports

    def _arch_arguments(self) -> dict[str, Any]:
        """The backbone's arguments, with the width that an any-width network starts from."""
        arguments, wide = self.config.Arch.arguments, self.config.AnyWidth and self.config.AnyWidth.base_width
        if wide and "width" in arguments:
            raise UserError("Arch.width and AnyWidth.base_width mean the same; give one of them")
        return arguments | {"width": wide} if wide else arguments

    def trained_model(self, run: Run) -> nn.Layer:
        """The network in eval mode, with the weights that the config names, else the best ones of a run."""
        model, _ = self.model()
        logger.info(load_weights(model, self._trained(run), complete=True))
        model.eval()
        return model

    def calibrate(self, model: nn.Layer, widths: Sequence[float], batches: Batches | None = None) -> None:
        """Give a US-Net its statistics at these widths, from the first training images; other networks have theirs."""
        section = self.config.AnyWidth
        if section and section.kind == "usnet":
            calibrate_on(model, batches or self.batches("train"), section.calibration_images, widths)

    # training

    def trainer(
        self, run: Run, model: nn.Layer, batches: Batches, eval_batches: Batches, precision: Precision
    ) -> Trainer:
        """The trainer of the config, with everything that listens to it."""
        settings, names = self.config.Global, self.config.Infer.class_names
        strategy = self.strategy()
        strategy.loss.require_fit(names, batches.image_shape, None if self.config.AnyWidth else model)
        eval_loss = self.loss("Eval").require_fit(names, eval_batches.image_shape)

        def evaluation() -> Evaluation:
            self.calibrate(model, [1.0], batches)
            head = f"[Eval][Epoch {trainer.progress.epoch + 1}]"
            return evaluate(model, eval_batches, eval_loss, self.topk, self.config.Arch.class_num, head)

        trainer = Trainer(
            model,
            self.optimizer(model, -(-len(batches) // settings.update_freq)),
            strategy,
            batches,
            evaluation,
            epochs=settings.epochs,
            max_steps=settings.max_steps,
            eval_interval=settings.eval_interval,
            update_freq=settings.update_freq,
            average=WeightAverage(model, settings.ema) if settings.ema else None,
            early_stop=settings.early_stop,
            skip_nonfinite=settings.skip_nonfinite,
            precision=precision,
            listeners=self.listeners(run, eval_batches) if distributed.is_first() else [],
        )
        return trainer

    def loss(self, side: str) -> CombinedLoss:
        """The losses of "Train" or "Eval", their teachers read from the run folders that the config names."""
        return CombinedLoss(list(map(_with_teachers, getattr(self.config.Loss, side))))

    def strategy(self) -> Strategy:
        """How a batch becomes gradients: plain, on mixtures of images, or at several widths."""
        loss, mixtures = self.loss("Train"), self.config.DataLoader.Train.dataset.batch_transform_ops
        if section := self.config.AnyWidth:
            if mixtures:
                raise UserError("AnyWidth trains on plain images; leave batch_transform_ops out")
            return AnyWidthStep(
                loss, **section.model_dump(include={"kind", "sampling", "widths", "min_width", "samples", "distill"})
            )
        return Mixed(loss, mixtures) if mixtures else Supervised(loss)

    def optimizer(self, model: nn.Layer, steps_per_epoch: int) -> Any:
        """The optimizer over a network's parameters, with its schedule."""
        section = self.config.Optimizer
        name, steps = section.lr.name, steps_per_epoch * self.config.Global.epochs
        rates = scaled(name, section.lr.arguments, self.lr_factor)
        schedule = SCHEDULES.create(name, steps_per_epoch, steps, **rates)
        return OPTIMIZERS.create(section.name, schedule, model, **section.arguments)

    def precision(self, device: str) -> Precision:
        """Mixed precision as the config asks for it."""
        section = self.config.AMP
        if not section.use_amp:
            return Precision()
        return mixed_precision(device, section.level, section.scale_loss, section.use_dynamic_loss_scaling)

    def listeners(self, run: Run, eval_batches: Batches) -> list[Listener]:
        """All that listens to a run; the checkpoints last."""
        settings = self.config.Global
        listeners: list[Listener] = [
            LogLines(settings.print_batch_step, self.config.Optimizer.lr.name),
            Results(run.path / "results.csv"),
        ]
        if shows_bars():
            listeners.append(ProgressBar())
        if self.writes_visualdl:
            from ppeconv.engine.visualdl import VisualDL, samples

            pictures = samples(eval_batches.dataset, self.config.Infer.class_names)
            listeners.append(VisualDL(run.path / "vdl", self._hparams(), pictures, every=10))
        return [*listeners, Checkpoints(run, settings.save_interval, settings.save_step_interval)]

    @property
    def writes_visualdl(self) -> bool:
        """Whether a run logs for VisualDL: it is asked for, and installed."""
        return self.config.Global.use_visualdl and installed("visualdl")

    @property
    def topk(self) -> list[int]:
        """The k of the top-k accuracies, at most the number of classes."""
        return sorted({min(k, self.config.Arch.class_num) for k in self.config.Metric.topk} | {1})

    @property
    def images_per_update(self) -> int:
        """Training images, of all processes, whose gradients make one update."""
        batch_size = self.config.DataLoader.Train.sampler.batch_size
        return batch_size * distributed.size() * self.config.Global.update_freq

    @property
    def lr_factor(self) -> float:
        """What the learning rates of the config are multiplied by."""
        base = self.config.Global.auto_scale_lr
        return self.images_per_update / base if base else 1.0

    def _hparams(self) -> dict[str, Any]:
        """Settings that tell runs apart."""
        config, section = self.config, self.config.AnyWidth
        operators = "+".join(f"{section.name}{section.arguments or ''}" for section in config.operators)
        return {
            "arch": config.Arch.name,
            "operator": operators or "none",
            "anywidth": f"{section.kind}, {section.sampling}" if section else "none",
            "optimizer": config.Optimizer.name,
            "learning_rate": str(config.Optimizer.lr.arguments.get("learning_rate", "")),
            "batch_size": config.DataLoader.Train.sampler.batch_size,
            "epochs": config.Global.epochs,
            "seed": config.Global.seed,
        }


def _require_scores(name: str, scores: Any, class_num: int) -> None:
    """Raise a UserError unless that is what a network of so many classes gives for one image."""
    gave = f"a tensor of {list(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
    if gave != f"a tensor of {[1, class_num]}":
        raise UserError(
            f"{name} should give [N, {class_num}] scores, one for each class; for 1 image it gave {gave}; the number "
            "of classes is Arch.class_num, or what the names or labels of the training data say"
        )


def _load_dense(model: nn.Layer, weights: Path | Weights) -> str:
    """Put weights into a network that operators are to be fitted to, and say so; every convolution has to be there."""
    convolutions = [path for path, layer in model.named_sublayers() if isinstance(layer, nn.Conv2D)]
    return load_weights(model, weights, needed=[f"{path}.weight" for path in convolutions])


def _with_teachers(entry: Mapping[str, Mapping[str, Any] | None]) -> dict[str, dict[str, Any]]:
    """A loss of a config, the run folder of a teacher replaced by its network."""
    return {name: {**(own or {}), **_teacher(name, own or {})} for name, own in entry.items()}


def _teacher(loss: str, arguments: Mapping[str, Any]) -> dict[str, Teacher]:
    folder = arguments.get("teacher") if LOSSES.accepts(loss, "teacher") else None
    if not isinstance(folder, str):
        return {}
    run = Run(folder)
    parts = Parts(load(*of_trained(folder)))
    facts = parts.config.Infer
    return {"teacher": Teacher(parts.trained_model(run), f"the teacher {folder}", facts.image_shape, facts.class_names)}
