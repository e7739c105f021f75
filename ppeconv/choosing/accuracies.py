"""What the zoo's records know of the accuracy of candidates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ppeconv import config as configs
from ppeconv.choosing.candidates import Candidate, Host, network_facts
from ppeconv.config import Config
from ppeconv.errors import UserError
from ppeconv.zoo.record import Record

RECORDS = Path(__file__).parents[1] / "zoo"


@dataclass(frozen=True)
class Accuracy:
    """Of a network that was trained, in the last epoch."""

    top1: float
    """Mean of the seeds; a fraction of the evaluation images."""
    data: str
    epochs: int
    seeds: tuple[int, ...]


def accuracies(host: Host, candidates: Sequence[Candidate], folder: Path = RECORDS) -> dict[Candidate, Accuracy]:
    """Those of the candidates that have records, all trained alike, as others cannot be compared.

    Where records of several ways of training are there, it is that which most of the candidates have, and of these the
    one with the most epochs.
    """
    wanted = {_text(network_facts(host.of(candidate))): candidate for candidate in candidates}
    data = host.of().DataLoader.Train.dataset.name
    alike: dict[str, dict[Candidate, list[Record]]] = {}
    for record, config in _records(folder):
        candidate = wanted.get(_text(network_facts(config)))
        if candidate and config.DataLoader.Train.dataset.name == data:
            alike.setdefault(_recipe(record, config), {}).setdefault(candidate, []).append(record)
    if not alike:
        return {}
    most = max(alike.values(), key=lambda found: (len(found), max(runs[0].epochs for runs in found.values())))
    return {candidate: _accuracy(runs) for candidate, runs in most.items()}


def _records(folder: Path) -> Iterator[tuple[Record, Config]]:
    """All that can be read, with their configs."""
    for file in sorted(folder.glob("*/seed*/record.json")):
        try:
            record = Record.read(file.parent)
            yield record, configs.load(record.config)
        except (OSError, ValueError, TypeError, UserError):
            continue


def _recipe(record: Record, config: Config) -> str:
    """How it was trained and on which images it was evaluated."""
    parts = config.model_dump(include={"Optimizer", "Loss", "DataLoader"})
    return _text([record.images_sha256, record.epochs, parts])


def _accuracy(runs: Sequence[Record]) -> Accuracy:
    first = runs[0]
    seeds = tuple(sorted(run.seed for run in runs))
    return Accuracy(fmean(run.last_top1 for run in runs), first.data, first.epochs, seeds)


def _text(facts: Any) -> str:
    return json.dumps(facts, sort_keys=True, default=str)
