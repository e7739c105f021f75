"""The Python API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from paddle import nn

from ppeconv.config import Config, load
from ppeconv.data.batches import Pipeline
from ppeconv.data.given import given_sets
from ppeconv.data.inputs import Input
from ppeconv.deployment.eager import EagerRuntime
from ppeconv.deployment.export import Form, as_targets
from ppeconv.deployment.predictor import Classifier, Prediction
from ppeconv.deployment.sweep import WidthRow
from ppeconv.engine import distributed
from ppeconv.engine.evaluator import Evaluation
from ppeconv.engine.log import log_to
from ppeconv.engine.results import read_results
from ppeconv.engine.run import Run, require_no_runs
from ppeconv.engine.setup import select_backend, select_device
from ppeconv.engine.weights import write_weights
from ppeconv.errors import UserError
from ppeconv.experiment import evaluation, export, own, training
from ppeconv.experiment.export import Measured
from ppeconv.experiment.parts import Parts
from ppeconv.experiment.trained import of_trained
from ppeconv.pretrained.weights import PREFIX, is_zoo


class Experiment:
    """A network, its data and how it is trained, from training to prediction.

    Whatever is not given is that of the config. Messages, files and results are those of the command line.

    Args:
        config: a config's file, the name of a shipped one, or its sections as a mapping, which may have a `_base_`. A
            mapping without one, or none at all, needs to say of one's own data only what differs from `RECIPE`.
        overrides: config values by dotted key, such as {"Global.epochs": 2}, or `Section.key=value` texts.
        model: a network of one's own, images [N, C, H, W] -> scores [N, classes]. It is this one that is trained: it
            starts from the weights it has, operators of the config are put into it, and it has the best weights
            afterwards.
        data: data of one's own, (training data, evaluation data), see `ppeconv.data.given.GivenSet`: each a pair
            (images, labels), or an object with len() and [index] that gives (image, label).
        class_names: of that data; numbers when not given.
        folder: of the run; not given, <Global.output_dir>/<name of the config>, or the network's class.

    Raises:
        UserError: the config has a mistake, or model or data are none.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | Sequence[str] = (),
        *,
        model: nn.Layer | None = None,
        data: tuple[Any, Any] | None = None,
        class_names: Sequence[str] | None = None,
        folder: str | Path | None = None,
    ):
        self._finished = self._trained_here = False
        if class_names is not None and data is None:
            raise UserError(
                "class_names go with data; those of a config's data set are the override 'Infer.class_names'"
            )
        sets = {} if data is None else given_sets(data, class_names)
        names = own.names(model, sets)
        self.parts = Parts(load(own.source(config, sets), overrides, names), model, sets)
        if isinstance(config, (str, Path)):
            name = Path(config).stem
        else:
            name = type(model).__name__ if model is not None else self.config.Arch.name
        self.run = Run(folder or Path(self.config.Global.output_dir) / name)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        overrides: Mapping[str, Any] | Sequence[str] = (),
        *,
        model: nn.Layer | None = None,
        data: tuple[Any, Any] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> Experiment:
        """The experiment of a run folder, to evaluate, export or predict with what was trained there.

        "zoo:" and a name of `list_pretrained()` in place of the folder mean weights that come with ppeconv; what is
        written of them goes to <Global.output_dir>/zoo/<name>.

        A network of one's own is given again, with any weights; so is the data, where it is asked for.
        """
        saved, settings = of_trained(folder, overrides)
        experiment = cls(saved, settings, model=model, data=data, class_names=class_names, folder=folder)
        if is_zoo(folder):
            name = str(folder).removeprefix(PREFIX)
            experiment.run = Run(Path(experiment.config.Global.output_dir) / "zoo" / name)
        experiment._finished = True
        experiment.parts = experiment.parts.with_classes_of(experiment.run)
        return experiment

    @property
    def config(self) -> Config:
        """The whole config, checked."""
        return self.parts.config

    def train(self) -> list[dict[str, float | None]]:
        """Train into the run folder, or go on with what Global.checkpoints names; returns `history`.

        Raises:
            UserError: before anything is written, where config, weights or data have a mistake or the folder holds a
                run already.
        """
        training.train(self.parts, self.run)
        self._trained_here = True
        self.__dict__.pop("model", None)
        self.__dict__.pop("trained", None)
        return self.history

    @property
    def history(self) -> list[dict[str, float | None]]:
        """A row for each epoch trained so far, with the columns of `results.csv`; None where not evaluated."""
        return read_results(self.run.path / "results.csv")

    @cached_property
    def trained(self) -> Parts:
        """The parts as they were trained: data facts filled in, classes those of the weights."""
        if self._finished:
            return self.parts
        parts = self.parts.without_start() if self._trained_here else self.parts
        return parts.with_classes_of_weights(self.run).filled()

    @cached_property
    def model(self) -> nn.Layer:
        """The trained network in eval mode, with the weights of Global.pretrained_model, else the run's best ones.

        Where there is no run yet, those of the zoo, if Arch.pretrained asks for these.
        """
        return self.trained.trained_model(self.run)

    def evaluate(self) -> Evaluation:
        """Evaluate on all evaluation images that can be read; also writes `per_class.csv` and `confusion.png`."""
        parts = self.trained
        select_backend(parts.config.Global.cpu_backend, select_device(parts.config.Global.device))
        distributed.join()
        log_to()
        return evaluation.evaluate(parts, self.run, self.model)

    def evaluate_widths(self, widths: Sequence[float] | None = None, threads: int = 1) -> list[WidthRow]:
        """Evaluate, count and time an any-width network at several widths; also writes `width.csv` and `width.png`.

        Args:
            widths: in (0, 1]; ten from AnyWidth.min_width to 1 when not given.
            threads: CPU threads of the latency.
        """
        if not self.config.AnyWidth:
            raise UserError(f"{self.config.Arch.name} of {self.run.path} has one width; use evaluate()")
        log_to()
        return evaluation.evaluate_widths(self.trained, self.run, self.model, widths, threads)

    def export(
        self,
        to: str | Sequence[str] = ("paddle",),
        *,
        form: Form = "deployed",
        widths: Sequence[float] | None = None,
        tune: bool = False,
        batch_size: int = 1,
        threads: int = 1,
    ) -> Path:
        """Write the trained network for prediction into Global.save_inference_dir, else `<run>/inference`.

        Args:
            to: one runtime or several, see `ppeconv.deployment.runtimes`.
            form: "deployed", with batch norms folded and operators in their inference form, or "trained".
            widths: of an any-width network: one is exported as the network, several into a folder each.
            tune: measure the forms of operators that have several and export each layer in its fastest.
            batch_size: images in a call when tuning.
            threads: CPU threads of what is measured.

        Returns:
            The folder.

        Raises:
            UserError: the exported network would not compute the same, or a package is missing; nothing is changed.
        """
        if tune and form != "deployed":
            raise UserError("--tune chooses among inference forms, and the trained form is layer by layer as trained")
        log_to()
        measured = Measured(batch_size, threads)
        return export.export(self.trained, self.run, self.model, as_targets(to), form, widths, tune, measured)

    def predict(self, images: Input | Iterable[Input], topk: int = 5, batch_size: int = 32) -> list[Prediction]:
        """The best classes of each image, by the trained network in this process; `Predictor` runs an exported one.

        Args:
            images: one or several, of any size: files, uint8 arrays or images of Pillow, see `Classifier`.
            topk: classes of each.
            batch_size: images in a call of the network.
        """
        facts, model = self.trained.prediction_facts(), self.model
        pipeline, shape = Pipeline(facts["transform_ops"]), self.trained.config.Infer.image_shape
        classifier = Classifier(EagerRuntime(model), pipeline, shape[0], facts["class_names"])
        return list(classifier.predict(images, topk, batch_size))

    def save_weights(self, file: str | Path) -> None:
        """Write the trained weights alone, as `.safetensors` or `.pdparams`.

        Raises:
            UserError: the file is one that trainings write, or cannot be written.
        """
        log_to()
        require_no_runs(Path(file))
        write_weights(self.model, Path(file))
