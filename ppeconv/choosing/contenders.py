"""Trained networks to be compared, of run folders and of the zoo's records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from statistics import fmean
from typing import Any

from ppeconv import config as configs
from ppeconv.benchmark.networks import Network
from ppeconv.choosing.accuracies import recipe
from ppeconv.choosing.candidates import network_facts
from ppeconv.config import Config
from ppeconv.data.datasets import FileSet
from ppeconv.engine import checkpoint
from ppeconv.engine.results import read_results
from ppeconv.engine.run import Run
from ppeconv.engine.trainer import Progress
from ppeconv.errors import UserError, nearest
from ppeconv.experiment import speed
from ppeconv.experiment.parts import Parts
from ppeconv.pretrained.record import Record
from ppeconv.pretrained.weights import FOLDER, PREFIX, is_zoo, record_folders
from ppeconv.registry import DATASETS
from ppeconv.schema.values import on_one_line
from ppeconv.zoo.rows import Job, named_images, read_jobs

Epochs = list[dict[str, float | None]]


@dataclass(frozen=True)
class Trained:
    """One training run."""

    seed: int
    epochs: Epochs
    """A row for each epoch so far, see `ppeconv.engine.results`."""
    folder: Path | None = None
    """Of a run that was not kept as a record."""
    record: Record | None = None

    @property
    def top1(self) -> float | None:
        """In the last epoch that was evaluated: it was not chosen. A fraction."""
        if self.record:
            return self.record.last_top1
        known = [epoch["eval_top1"] for epoch in self.epochs if epoch["eval_top1"] is not None]
        return known[-1] if known else None

    @property
    def seconds(self) -> float:
        """Of all epochs' training, evaluation not included."""
        return self.record.seconds if self.record else sum(epoch["seconds"] or 0.0 for epoch in self.epochs)


@dataclass(frozen=True)
class Contender:
    """A network with its training runs, which differ in the seed alone."""

    name: str
    """Of its row or of its run folders."""
    config: Config
    """That of the first run, image shape and classes filled in."""
    data: str | None
    """The evaluation images, told by their checksum; None of files, and of what is not on this machine."""
    runs: tuple[Trained, ...]
    """None of a row that is not trained yet."""

    @cached_property
    def top1s(self) -> list[float]:
        """Of every seed."""
        return [run.top1 for run in self.runs if run.top1 is not None]

    @property
    def top1(self) -> float | None:
        """Mean over the seeds."""
        return fmean(self.top1s) if self.top1s else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """Lowest and highest top-1, where there are several seeds."""
        return (min(self.top1s), max(self.top1s)) if len(self.top1s) > 1 else None

    @property
    def seconds(self) -> float | None:
        """Of a training, the mean of the runs."""
        return fmean(run.seconds for run in self.runs) if self.runs else None

    @property
    def has_operator(self) -> bool:
        """Whether anything was put into the backbone or made of it."""
        return bool(self.config.operators or self.config.AnyWidth)

    @property
    def width(self) -> float:
        """Of the backbone, 1 where it has none such."""
        return float(self.config.Arch.arguments.get("width", 1))

    @property
    def title(self) -> str:
        """The operator with what is not default, or of a plain network the backbone with its width."""
        if not self.has_operator:
            return self.config.Arch.name + (f" ×{self.width:g}" if self.width != 1 else "")
        own = [
            _with(section.name, {**section.choice.own.model_dump(exclude_defaults=True), **(section.rules or {})})
            for section in self.config.operators
        ]
        return " + ".join([*own, *([self.config.AnyWidth.kind.upper()] if self.config.AnyWidth else [])])

    @cached_property
    def facts(self) -> str:
        """The same for two of the same network, whatever they are called and however they were trained."""
        return json.dumps(network_facts(self.config), sort_keys=True)

    @cached_property
    def host(self) -> str:
        """The same for two that are the same network at the same width, operators apart."""
        return json.dumps(self._plain_facts, sort_keys=True)

    @cached_property
    def design(self) -> str:
        """The same for two that are the same network at whatever width, operators apart."""
        arguments = {key: value for key, value in self._plain_facts["arguments"].items() if key != "width"}
        return json.dumps({**self._plain_facts, "arguments": arguments}, sort_keys=True)

    @cached_property
    def _plain_facts(self) -> dict[str, Any]:
        return network_facts(configs.with_values(self.config, {"Operator": None, "AnyWidth": None}))

    @cached_property
    def recipe(self) -> str:
        """The same for two that were trained alike; with another recipe accuracies say nothing of the network."""
        return recipe(self.config.model_dump())

    @property
    def is_of_folder(self) -> bool:
        """Whether it is a run folder, not a row of the zoo."""
        return any(run.folder for run in self.runs)

    @cached_property
    def training(self) -> tuple[Any, ...]:
        """All but the seed on which the weights of a run depend: network, recipe, start, epochs so far."""
        start = self.config.Global.pretrained_model, self.config.Arch.pretrained
        return self.facts, self.recipe, start, [len(run.epochs) for run in self.runs]

    @cached_property
    def network(self) -> Network:
        """To be counted and measured, with trained weights where there are any.

        Not so those of an any-width network of the zoo, whose statistics at full width would have to be measured first.
        """
        trained = [source for run in self.runs if (source := self._weights(run))]
        made = speed.of_run(trained[0]) if trained else speed.of_config(self.config.model_dump())
        return replace(made, name=self.name, images=None)  # its data need not be on this machine

    def _weights(self, run: Trained) -> str | None:
        """What a run's weights are asked for by, if there are any."""
        if run.folder and Run(run.folder).best.with_suffix(".pdparams").is_file():
            return str(run.folder)
        if run.record and run.record.weights_sha256 and not self.config.AnyWidth:
            return PREFIX + run.record.row
        return None

    @property
    def counts(self) -> tuple[int, int]:
        """Trainable parameters, and multiply-adds for one image."""
        for run in self.runs:
            if run.record:
                return run.record.params, run.record.macs
        return self.network.counts.params, self.network.counts.macs

    @property
    def images(self) -> str:
        """The data set that it was evaluated on, as the config says."""
        dataset, root = self.config.DataLoader.Eval.dataset, self.config.Global.data_root
        of_files = issubclass(DATASETS.get(dataset.name), FileSet)
        return _with(dataset.name, {**dataset.arguments, **({"data_root": root} if of_files and root else {})})

    @property
    def epochs(self) -> int:
        """How many the longest of its runs has begun; those of the config where there is no run."""
        return max(
            (int(run.epochs[-1]["epoch"] or 0) for run in self.runs if run.epochs), default=self.config.Global.epochs
        )

    @property
    def unfinished(self) -> list[Trained]:
        """Runs that have not come to the end that the config sets them."""
        return [run for run in self.runs if run.folder and not _is_finished(run.folder, run.epochs, self.config)]


def contenders(sources: Sequence[str], records: Path = FOLDER, tables: Path | None = None) -> list[Contender]:
    """What is to be compared, in the order given; runs that differ in their seed alone are one.

    Args:
        sources: run folders; "zoo:" and the name of a row or a table of the zoo.
        records: folder of the zoo's records.
        tables: folder of the zoo's tables of epochs, `<row>_seed<N>.csv`; without it a record has no epochs but the
            last.

    Raises:
        UserError: something is neither, is named twice or evaluated on other images, or a folder holds no run.
    """
    found: list[Contender] = []
    images: dict[str, str | None] = {}
    for source in sources:
        if is_zoo(source):
            found += _of_zoo(source.removeprefix(PREFIX), records, tables)
        else:
            found.append(_of_run(source, images))
    doubled = [name for name, times in Counter(map(_place, found)).items() if times > 1]
    if doubled:
        raise UserError(f"{doubled[0]} is named twice; give each once")
    _require_same_images(found)
    return _joined(found)


def reference(compared: Sequence[Contender]) -> Contender:
    """The plain network that most of the others have an operator put into, the widest of equals; else the first."""
    plain = [contender for contender in compared if not contender.has_operator]
    hosts = Counter(contender.host for contender in compared if contender.has_operator)
    return max(plain, key=lambda it: (hosts[it.host], it.width), default=compared[0])


def plain_widths(contender: Contender, compared: Sequence[Contender]) -> list[Contender]:
    """The plain networks of its design at several widths that were trained as it was, narrowest first."""
    alike = [
        other
        for other in compared
        if not other.has_operator
        and other.top1 is not None
        and (other.design, other.recipe) == (contender.design, contender.recipe)
    ]
    return sorted(alike, key=lambda it: it.width)


def noise(compared: Sequence[Contender]) -> float:
    """The largest difference between two seeds of one network; 0 where none has several."""
    return max((spread[1] - spread[0] for contender in compared if (spread := contender.spread)), default=0.0)


def _require_same_images(found: Sequence[Contender]) -> None:
    names: dict[tuple[str, str | None], list[str]] = {}
    for contender in found:
        names.setdefault((contender.images, contender.data), []).append(contender.name)
    known = {(images, data) for images, data in names if data}
    if len({images for images, _ in names}) > 1 or len(known) > 1:
        said = "; ".join(f"{data or images}: {', '.join(own)}" for (images, data), own in names.items())
        raise UserError(
            f"accuracies on different evaluation images cannot be compared ({said}); compare those on the same images"
        )


def _of_zoo(name: str, records: Path, tables: Path | None) -> list[Contender]:
    jobs = read_jobs()
    chosen = [job for job in jobs if name in (job.row.name, job.row.table)]
    if not chosen:
        known = [*(job.row.table for job in jobs), *(job.row.name for job in jobs)]
        raise UserError(f"the zoo has neither a row nor a table {name!r}{nearest(name, dict.fromkeys(known))}")
    rows: dict[str, list[Job]] = {}
    for job in chosen:
        rows.setdefault(job.row.name, []).append(job)
    return [_of_row(row, own, records, tables) for row, own in rows.items()]


def _of_row(name: str, jobs: Sequence[Job], records: Path, tables: Path | None) -> Contender:
    done = [job for job in jobs if (records / job.folder / "record.json").is_file()]
    kept = [Record.read(records / job.folder) for job in done]
    runs = tuple(
        Trained(record.seed, _epochs(record, tables and tables / f"{job.name}.csv"), record=record)
        for job, record in zip(done, kept, strict=True)
    )
    if kept:
        return Contender(name, configs.load(kept[0].config), kept[0].data, runs)
    return Contender(name, *_untrained(jobs[0], records), runs)


def _untrained(job: Job, records: Path) -> tuple[Config, str | None]:
    """Config and evaluation images of a row without records; what follows from the images is that of other rows."""
    parts = job.experiment().parts
    for folder in record_folders(records):
        other = Record.read(folder)
        if other.config["DataLoader"]["Eval"]["dataset"]["name"] == parts.config.DataLoader.Eval.dataset.name:
            facts = {f"Infer.{key}": other.config["Infer"][key] for key in ("image_shape", "class_names")}
            classes = {"Arch.class_num": other.config["Arch"]["class_num"]}
            return Parts(configs.with_values(parts.config, {**facts, **classes})).filled().config, other.data
    return parts.filled().config, None


def _epochs(record: Record, table: Path | None) -> Epochs:
    """The whole table where it is there, else what the record knows of it."""
    last: dict[str, float | None] = {
        "epoch": record.epochs,
        "eval_top1": record.last_top1,
        "seconds": record.seconds,
    }
    return (read_results(table) if table else []) or [last]


def _of_run(folder: str, images: dict[str, str | None]) -> Contender:
    """Of a run folder; `images` has the names of evaluation images that were looked at before, which takes seconds."""
    run = Run(folder)
    parts = Parts.of_run(run)
    config = parts.config
    source = json.dumps([config.Global.data_root, config.DataLoader.Eval.dataset.model_dump()], default=str)
    if source not in images:
        images[source] = _evaluation_images(parts)
    trained = Trained(config.Global.seed, read_results(run.path / "results.csv"), run.path)
    return Contender(_name(run.path.resolve()), config, images[source], (trained,))


def _name(folder: Path) -> str:
    """Of a run: its folder's, or those of the two around it where that says nothing, as of what slim prepared."""
    return folder.name if folder.name != "config" else str(Path(*folder.parts[-3:-1]))


def _evaluation_images(parts: Parts) -> str | None:
    """Their name by their checksum, where they are on this machine and no files of their own."""
    try:
        digest = parts.images_digest("test")
    except UserError:
        return None
    return digest and named_images(digest, parts.config.DataLoader.Eval.dataset.name)


def _is_finished(folder: Path, epochs: Epochs, config: Config) -> bool:
    """Whether a run has all its epochs, or ended before as its config lets it; so it is taken where nothing tells."""
    settings = config.Global
    if len(epochs) >= settings.epochs:
        return True
    known = [epoch["eval_top1"] for epoch in epochs if epoch["eval_top1"] is not None]
    if settings.early_stop and known and len(known) - 1 - known.index(max(known)) >= settings.early_stop:
        return True
    if settings.max_steps is None:
        return False
    steps = _steps(folder)
    return steps is None or steps >= settings.max_steps


def _steps(folder: Path) -> int | None:
    """Updates until the newest checkpoint of a run, where it can be read."""
    try:
        return Progress.of(checkpoint.read(Run(folder).latest.with_suffix(".pdstates"))["progress"]).step
    except (UserError, LookupError, TypeError, ValueError, AttributeError):
        return None


def _place(contender: Contender) -> str:
    folders = [str(run.folder.resolve()) for run in contender.runs if run.folder]
    return folders[0] if folders else PREFIX + contender.name


def _joined(found: Sequence[Contender]) -> list[Contender]:
    """Runs that differ in their seed alone as one, and names that differ from each other."""
    groups: list[list[Contender]] = []
    for contender in found:
        alike = next((group for group in groups if _is_another_seed(contender, group)), None)
        if alike is None:
            groups.append([contender])
        else:
            alike.append(contender)
    joined = [
        replace(group[0], name=_shared([it.name for it in group]), runs=tuple(run for it in group for run in it.runs))
        for group in groups
    ]
    times = Counter(contender.name for contender in joined)
    return [it if times[it.name] == 1 else replace(it, name=_place(it)) for it in joined]


def _is_another_seed(contender: Contender, group: Sequence[Contender]) -> bool:
    """Whether a run folder holds what those of a group do, trained alike as far, with a seed that none of them has."""
    if not (contender.is_of_folder and group[0].is_of_folder):
        return False
    seeds = {it.runs[0].seed for it in group}
    return contender.runs[0].seed not in seeds and contender.training == group[0].training


def _shared(names: Sequence[str]) -> str:
    """What names of runs with several seeds have in common at their beginning, else the first."""
    if len(names) == 1:
        return names[0]
    begin = "".join(letters[0] for letters in takewhile(lambda it: len(set(it)) == 1, zip(*names, strict=False)))
    return begin.rstrip("0123456789").removesuffix("seed").rstrip("_-.") or names[0]


def _with(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name} ({on_one_line(arguments)[1:-1]})" if arguments else name
