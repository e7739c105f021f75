"""What the zoo's records know of the accuracy of candidates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ppeconv import config as configs
from ppeconv.choosing.candidates import Candidate, Host
from ppeconv.errors import UserError
from ppeconv.pretrained.network import Network
from ppeconv.pretrained.record import Record
from ppeconv.pretrained.weights import FOLDER, record_folders


@dataclass(frozen=True)
class Accuracy:
    """Of a network that was trained, in the last epoch."""

    top1: float
    """Mean of the seeds; a fraction of the evaluation images."""
    data: str
    epochs: int
    seeds: tuple[int, ...]


_OF_THE_TRAINING = "epochs", "max_steps", "early_stop", "update_freq", "auto_scale_lr", "ema"
"""Keys of the section Global on which accuracies depend."""


def accuracies(host: Host, candidates: Sequence[Candidate], folder: Path = FOLDER) -> dict[Candidate, Accuracy]:
    """Those of the candidates that have records, all trained alike, as others cannot be compared.

    Where records of several ways of training are there, it is that which most of the candidates have, and of these the
    one with the most epochs.
    """
    plain = host.of().model_dump()
    wanted = [(Network.of(host.of(candidate).model_dump()), candidate) for candidate in candidates]
    alike: dict[str, dict[Candidate, list[Record]]] = {}
    for record, config in _records(folder):
        if _task(config) != _task(plain):
            continue
        trained = Network.of(config)
        for candidate in (candidate for network, candidate in wanted if network.same_as(trained)):
            alike.setdefault(_recipe(record, config), {}).setdefault(candidate, []).append(record)
    if not alike:
        return {}
    most = max(alike.values(), key=lambda found: (len(found), max(runs[0].epochs for runs in found.values())))
    return {candidate: _accuracy(runs) for candidate, runs in most.items()}


def _records(folder: Path) -> Iterator[tuple[Record, dict[str, Any]]]:
    """All that can be read, with the whole config: keys that came after the training have their defaults."""
    for place in record_folders(folder):
        try:
            record = Record.read(place)
            yield record, configs.load(record.config).model_dump()
        except UserError:
            continue


def _task(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What is learned: data set, size of the images, classes."""
    data = config["DataLoader"]["Train"]["dataset"]["name"]
    return data, list(config["Infer"]["image_shape"]), config["Arch"]["class_num"]


def recipe(config: Mapping[str, Any]) -> str:
    """The same for two configs by which networks are trained alike; else accuracies say nothing of the network."""
    settings, arch, operators = config["Global"], config["Arch"], config["Operator"] or []
    inits = {operator.get("init") for operator in (operators if isinstance(operators, list) else [operators])}
    parts: dict[str, Any] = {section: config[section] for section in ("Optimizer", "Loss")}
    parts |= {key: settings[key] for key in _OF_THE_TRAINING}
    parts["data"] = {"image_size": config["DataLoader"]["image_size"], **_sides(config)}
    parts["start"] = [bool(settings["pretrained_model"]), bool(arch["pretrained"]), arch["init"], "from_dense" in inits]
    parts["frozen"], parts["precision"] = arch["freeze"], config["AMP"]["use_amp"] and config["AMP"]
    return json.dumps(parts, sort_keys=True, default=str)


def _sides(config: Mapping[str, Any]) -> dict[str, Any]:
    """Both sides of the data, whoever prepares the batches."""
    sides = {side: config["DataLoader"][side] for side in ("Train", "Eval")}
    return {side: {key: value for key, value in of.items() if key != "loader"} for side, of in sides.items()}


def _recipe(record: Record, config: Mapping[str, Any]) -> str:
    """How it was trained and on which images it was evaluated."""
    return json.dumps([record.images_sha256, record.epochs, recipe(config)])


def _accuracy(runs: Sequence[Record]) -> Accuracy:
    first = runs[0]
    seeds = tuple(sorted(run.seed for run in runs))
    return Accuracy(fmean(run.last_top1 for run in runs), first.data, first.epochs, seeds)
