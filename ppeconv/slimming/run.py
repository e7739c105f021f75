"""From a run folder, or a name of the zoo, to run folders of slimmer networks."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from paddle import nn

from ppeconv import files
from ppeconv.config import Config, dump, with_values
from ppeconv.engine.evaluator import evaluate
from ppeconv.engine.lock import Lock
from ppeconv.engine.log import log_to
from ppeconv.engine.run import Run
from ppeconv.engine.schedules import scaled
from ppeconv.engine.setup import select_backend, select_device
from ppeconv.engine.weights import write_weights
from ppeconv.errors import UserError
from ppeconv.experiment import Experiment
from ppeconv.extras import installed, left_out
from ppeconv.layers.parameters import parameter_count
from ppeconv.registry import placed
from ppeconv.slimming.images import FITTING, HELD_OUT, Images
from ppeconv.slimming.kept import alone, make_folder
from ppeconv.slimming.measurements import Facts, Measurements
from ppeconv.slimming.options import check_names
from ppeconv.slimming.pictures import draw_budget, draw_depth
from ppeconv.slimming.positions import stage_ends
from ppeconv.slimming.report import page
from ppeconv.slimming.search import Search
from ppeconv.slimming.slim import ROUNDS, Slimmed, how_of, slimmed

TEACHER = {"weight": 1.0, "temperature": 4.0, "layer_weight": 2.0}
"""Of the loss that a slimmed network learns from the network that it was made of."""
AT_FULL_RATE = 3
"""Epochs of further training that make good what the start's learning rate undoes of what was fitted; with fewer the
rate is as much lower."""


@dataclass(frozen=True)
class Result:
    """What was made for a budget."""

    folder: Path
    slimmed: Slimmed
    top1: tuple[float, float] | None
    """On the evaluation images, of the network as it was and of this one without further training."""


class SlimRun:
    """A trained network of a run folder or of the zoo, and what is made of it.

    Args:
        name: the folder, or "zoo:NAME".
        overrides: `Section.key=value`.
        folder: where results go; <Global.output_dir>/<name>_slim when not given.
        runtime, batch_size, threads, rounds, again: of the latency; see `slim`.
        operators, keep: see `slim`.
        images, held_out: how many training images to fit on, and how many others to judge by.
        measurements: a file of measurements, in place of measuring.
        overwrite: make results anew where a network was trained of another choice.
    """

    def __init__(
        self,
        name: str,
        overrides: Sequence[str] = (),
        *,
        folder: str | None = None,
        runtime: str = "paddle",
        batch_size: int = 1,
        threads: int | None = None,
        rounds: int = ROUNDS,
        again: bool = False,
        operators: Sequence[str] | None = None,
        keep: Sequence[str] = (),
        images: int = FITTING,
        held_out: int = HELD_OUT,
        measurements: str | None = None,
        overwrite: bool = False,
    ):
        check_names(operators or ())
        how = how_of(runtime, batch_size, threads, rounds)
        self.name, self.experiment = name, Experiment.open(name, overrides)
        self.config: Config = self.experiment.config
        if self.config.AnyWidth:
            raise UserError(f"{name} is an any-width network, which has its widths to be fast by; slim takes others")
        self.folder = Path(folder or Path(self.config.Global.output_dir) / f"{self.experiment.run.path.name}_slim")
        try:
            f"{name}{self.folder}".encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{self.folder} and {name} are named in configs, which are UTF-8; give names that are"
            ) from None
        log_to()
        self.say = logging.getLogger("ppeconv").info
        self.say(select_backend(self.config.Global.cpu_backend, select_device(self.config.Global.device)))
        seed, loader = self.config.Global.seed, self.experiment.parts.plain_images("train", images + held_out)
        self.search = Search(
            self.experiment.model,
            Images.of(loader, images, held_out),
            how,
            operators,
            keep,
            seed=seed,
            folder=self.folder / "fits",
            say=self.say,
            again=again,
        )
        self._given, self._threads, self._overwrite = measurements and Path(measurements), threads, overwrite

    def alone(self) -> Lock:
        """Nobody else works in the folder inside a `with` block; raises UserError for a folder that is not of slim."""
        fits = self.folder / "fits"
        try:
            if self.folder.exists() and any(self.folder.iterdir()) and not fits.is_dir():
                raise UserError(f"{self.folder} holds files that are not of slim; choose another --output")
        except OSError as error:
            raise UserError(f"cannot write {self.folder}: {error.strerror}") from None
        return alone(fits)

    def require_untrained(self, labels: Sequence[str]) -> None:
        """Raise a UserError where a network was trained for each of these budgets."""
        runs = [Run(self.folder / label / "config") for label in labels]
        if all(run.exists for run in runs):
            raise UserError(runs[0].held("--output DIR"))

    def measurements(self) -> Measurements:
        """Made, and kept in the folder; or those of the file that was given."""
        if self._given:
            found = Measurements.read(self._given)
            self._require_same_latency(found.facts)
            if found.facts.network != self.search.stopwatch.facts["network"]:
                raise UserError(f"the measurements {self._given} are of another network than {self.name}")
            if found.facts.weights not in (None, self.search.weights):
                raise UserError(f"the measurements {self._given} are of other weights than those of {self.name}")
            self._require_possible(found)
            names = self.search.names and {placed(name).canonical(name) for name in self.search.names}
            return found.only({it.path for it in self.search.positions}, names or None)
        found = self.search.measurements()
        found.write(self.folder / "measurements.json")
        return found

    def _require_possible(self, measurements: Measurements) -> None:
        """Raise a UserError where a file has what cannot stand in its position."""
        places = {it.path: it for it in self.search.positions}
        for spot in measurements.spots:
            for option in [it.option for it in spot.judged if spot.path in places]:
                if reason := option.refusal(places[spot.path]):
                    raise UserError(
                        f"the measurements {self._given} have {option} for {spot.path}, where it cannot stand: {reason}"
                    )

    def _require_same_latency(self, facts: Facts) -> None:
        """Raise a UserError where another latency is asked for than a file has."""
        how = self.search.how
        threads = str(self._threads or facts.threads)
        if (facts.runtime, facts.batch_size, facts.threads) != (how.runtimes[0], how.batch_size, threads):
            raise UserError(
                f"the measurements {self._given} are of the runtime {facts.runtime}, batch size {facts.batch_size}, "
                f"threads {facts.threads}; asked for are {how.runtimes[0]}, {how.batch_size}, {threads}"
            )

    def result(self, measurements: Measurements, budget_ms: float, label: str, epochs: int | None = None) -> Result:
        """The network for a budget, in a folder of its own.

        Args:
            measurements: what the choice rests on.
            budget_ms: what it may take.
            label: of the budget; the folder's name.
            epochs: of the training that is prepared; a quarter of the start's when not given.
        """
        made = slimmed(self.search, measurements, budget_ms, measure=not self._given)
        self.say(f"{label}: {made}")
        folder = self.folder / label
        config = dump(self._config(folder, made, epochs)).encode()
        self._make_room(folder, config)
        make_folder(folder)
        write_weights(made.model, folder / "init.safetensors")
        files.write_whole(folder / "config.yaml", config)
        made.measurements.write(folder / "measurements.json")
        top1 = self._top1(made)
        pictures = self._draw(made, folder)
        params = parameter_count(self.search.model), parameter_count(made.model)
        commands = list(_commands(folder, measurements.facts.runtime))
        title = f"{self.name} in {label.removesuffix('ms') + ' ms' if label.endswith('ms') else label + ' of its time'}"
        text = page(title, made, params, top1, self.search.seconds, commands, pictures)
        files.write_whole(folder / "report.md", text.encode())
        return Result(folder, made, top1)

    def _make_room(self, folder: Path, config: bytes) -> None:
        """Delete a network that was trained in a budget's folder of another config; raises UserError where it stays."""
        trained, start = Run(folder / "config"), folder / "config.yaml"
        if not trained.exists or (start.is_file() and start.read_bytes() == config):
            return
        if not self._overwrite:
            raise UserError(
                f"{trained.path} holds a network that was trained of another choice than this one; give another "
                "--output, or lose it with -o Global.overwrite=true"
            )
        with trained.lock() as lock:
            lock.take()
            trained.clear()

    def _config(self, folder: Path, made: Slimmed, epochs: int | None) -> Config:
        """That of the start, with what was chosen, from the fitted weights, with the start as teacher."""
        before = self.config.model_dump()
        own = [{**section.model_dump(), "init": None} for section in self.config.operators]
        teacher = {"DistillLoss": {"teacher": self.name, **TEACHER, "layers": stage_ends(self.search.positions)}}
        losses = [entry for entry in before["Loss"]["Train"] if "DistillLoss" not in entry]
        epochs = epochs or max(1, self.config.Global.epochs // 4)
        lr = self.config.Optimizer.lr
        rates = scaled(lr.name, lr.arguments, min(1.0, epochs / AT_FULL_RATE))
        if warmup := rates.get("warmup_epoch"):
            rates["warmup_epoch"] = min(warmup, epochs)
        values: Mapping[str, Any] = {
            "Operator": [*own, *made.operators] or None,
            "Arch.pretrained": False,
            "Arch.freeze": [],
            "Global.pretrained_model": str(folder / "init.safetensors"),
            "Global.output_dir": str(folder),
            "Global.epochs": epochs,
            "Global.max_steps": None,
            "Global.early_stop": None,
            "Global.checkpoints": None,
            "Global.overwrite": False,
            "Loss.Train": [*losses, teacher],
            "Optimizer.lr": {"name": lr.name, **rates},
        }
        return with_values(self.config, values)

    def _top1(self, made: Slimmed) -> tuple[float, float] | None:
        """Of the start and of what was made; None where the evaluation images are not here."""
        if self._start is None:
            return None
        found = self._evaluated(made.model)
        self.say(f"top-1 {self._start:.2%} -> {found:.2%} without further training")
        return self._start, found

    @cached_property
    def _start(self) -> float | None:
        """Top-1 of the start on the evaluation images, where they are here."""
        try:
            return self._evaluated(self.search.model)
        except UserError as error:
            self.say(f"not evaluated: {error}")
            return None

    def _evaluated(self, model: nn.Layer) -> float:
        parts, head = self.experiment.parts, "[Slim][Eval]"
        return evaluate(model, parts.batches("test"), parts.loss("Eval"), [1], self.config.Arch.class_num, head).top1

    def _draw(self, made: Slimmed, folder: Path) -> list[str]:
        if not installed("matplotlib"):
            for note in left_out({"matplotlib": "no pictures are drawn"}, "train"):
                self.say(note)
            return []
        draw_budget(made.measurements, made.chosen, folder / "budget.png")
        draw_depth(made.measurements, made.chosen, folder / "depth.png")
        return ["budget.png", "depth.png"]


def _commands(folder: Path, runtime: str) -> Sequence[str]:
    config, run = shlex.quote(str(folder / "config.yaml")), shlex.quote(str(folder / "config"))
    return (
        f"python tools/train.py -c {config}    # the network that it was made of is the teacher",
        f"python tools/eval.py --run {run}",
        f"python tools/export.py --run {run} --to {runtime}",
    )
