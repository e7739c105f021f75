"""What values of a config mean to each other: each is fine alone, and together they contradict."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from ppeconv.errors import UserError
from ppeconv.registry import DATASETS

if TYPE_CHECKING:
    from ppeconv.config.sections import Config, SetSection


def check_relations(config: Config) -> None:
    """Raise a UserError for the first contradiction; what is not known yet is not looked at."""
    for contradiction in chain.from_iterable(look(config) for look in _LOOKS):
        raise UserError(contradiction)


def _schedule(config: Config) -> Iterator[str]:
    warmup, epochs = config.Optimizer.lr.arguments.get("warmup_epoch", 0), config.Global.epochs
    if warmup > epochs:
        yield (
            f"Optimizer.lr.warmup_epoch is {warmup}, and the whole run has Global.epochs {epochs}; lower it, such as "
            "-o Optimizer.lr.warmup_epoch=0"
        )


def _normalization(config: Config) -> Iterator[str]:
    train, evaluation = (
        _normalize(section.dataset.transform_ops) for section in (config.DataLoader.Train, config.DataLoader.Eval)
    )
    if train and evaluation and train != evaluation:
        yield (
            f"images are normalized with {_shown(train)} in training and {_shown(evaluation)} in evaluation; a network "
            "sees what it was trained on only with the same on both sides"
        )


def _classes(config: Config) -> Iterator[str]:
    names, count = config.Infer.class_names, config.Arch.class_num
    if names and count and len(names) != count:
        yield f"Infer.class_names has {len(names)} names, and Arch.class_num is {count}; leave one of them out"


def _images(config: Config) -> Iterator[str]:
    if shape := config.Infer.image_shape:
        channels, side = (config.Arch.arguments.get(key) for key in ("in_channels", "image_size"))
        if channels is not None and channels != shape[0]:
            yield (
                f"Arch.in_channels is {channels}, and the images have {shape[0]} (Infer.image_shape {shape}); leave it "
                "out, and it follows from the data"
            )
        if side is not None and side not in shape[1:]:
            yield (
                f"Arch.image_size is {side}, and the images are {shape[1]}x{shape[2]} (Infer.image_shape {shape}); "
                "leave it out, and it follows from the data"
            )


def _parts(config: Config) -> Iterator[str]:
    train, evaluation = config.DataLoader.Train.dataset, config.DataLoader.Eval.dataset
    ratios = train.arguments.get("val_ratio"), evaluation.arguments.get("val_ratio")
    own_test_images = ratios[1] is None and DATASETS.get(train.name).has_test_images
    if ratios[0] != ratios[1] and _source(train) == _source(evaluation) and not own_test_images:
        yield (
            f"val_ratio is {ratios[0]} in training and {ratios[1]} in evaluation of the same images, so some would be "
            "on both sides; give both the same"
        )


def _evaluation(config: Config) -> Iterator[str]:
    if config.DataLoader.Eval.sampler.drop_last:
        yield "DataLoader.Eval.sampler.drop_last is true, which leaves images out of the evaluation; set it to false"


_LOOKS = _schedule, _normalization, _classes, _images, _parts, _evaluation


def _source(dataset: SetSection) -> dict[str, Any]:
    """Where a data set's images come from."""
    places = {key: os.path.normpath(value) for key, value in dataset.arguments.items() if isinstance(value, str)}
    return {"name": DATASETS.canonical(dataset.name), **places}


def _normalize(operations: list[dict[str, Any]]) -> dict[str, list[float]] | None:
    name, arguments = next(iter(operations[-1].items())) if operations else ("", None)
    return arguments if name.lower() == "normalize" else None


def _shown(normalize: dict[str, list[float]]) -> str:
    return f"mean {normalize['mean']} and std {normalize['std']}"
