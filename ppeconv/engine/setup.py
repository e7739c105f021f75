"""From a config to the parts of a run: data, network, optimizer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from ppeconv import backend
from ppeconv.anywidth import make_anywidth
from ppeconv.backbones.external import is_external
from ppeconv.backbones.initial import initialise
from ppeconv.config import Config, with_values
from ppeconv.data.batches import Batches, Pipeline
from ppeconv.data.classes import check_labels, class_names, match_classes
from ppeconv.data.datasets import ArraySet, FileSet
from ppeconv.data.transforms import Operation, sized
from ppeconv.engine import distributed
from ppeconv.engine.devices import has_gpu, require_gpu
from ppeconv.engine.fit import require_fit
from ppeconv.engine.schedules import scaled
from ppeconv.errors import UserError
from ppeconv.models.create import apply_operator, create_backbone
from ppeconv.registry import BACKBONES, DATASETS, OPTIMIZERS, SCHEDULES
from ppeconv.surgery.report import Report


def select_device(name: str) -> str:
    """Make "cpu" or "gpu" Paddle's device; "auto" takes a GPU where this Paddle has one."""
    if name == "gpu":
        require_gpu("Global.device")
    device = ("gpu" if has_gpu() else "cpu") if name == "auto" else name
    paddle.set_device(device)
    return device


def select_backend(config: Config, device: str) -> str:
    """Switch the fast CPU layers on or off; returns which layers are used and why, as a sentence."""
    sentence = backend.select(config.Global.cpu_backend, device)
    if device == "cpu":
        backend.keep_freed_pages()
    return sentence


def data_root(config: Config) -> Path:
    """Folder of the data sets."""
    return Path(config.Global.data_root or os.environ.get("PPECONV_DATA") or "dataset").expanduser()


def open_dataset(config: Config, split: str) -> ArraySet | FileSet:
    """The data set of "train" or "test", its labels those of the config's class names.

    Large arrays are read only when used.
    """
    dataset = _as_it_is(config, split)
    if config.Infer.class_names == []:
        raise UserError("Infer.class_names is empty, which suits only what needs no data; leave it out")
    if config.Infer.class_names:
        match_classes(dataset, config.Infer.class_names, "training" if split == "train" else "evaluation")
    return dataset


def _as_it_is(config: Config, split: str) -> ArraySet | FileSet:
    section = config.DataLoader.Train if split == "train" else config.DataLoader.Eval
    return DATASETS.create(section.dataset.name, data_root(config), split, **section.dataset.arguments)


def transforms(config: Config, split: str) -> list[Operation]:
    """The transforms of "train" or "test", each with its size."""
    section = config.DataLoader.Train if split == "train" else config.DataLoader.Eval
    return sized(section.dataset.transform_ops, config.DataLoader.image_size)


def make_batches(config: Config, split: str, skip_unreadable: bool = False) -> Batches:
    """Training or evaluation batches, their labels checked against the number of classes."""
    section = config.DataLoader.Train if split == "train" else config.DataLoader.Eval
    dataset, pipeline = open_dataset(config, split), Pipeline(transforms(config, split))
    shape = pipeline.output_shape(dataset.shape)  # transforms that do not fit are refused now, not in the run
    if split == "test" and shape != config.Infer.image_shape:
        raise UserError(
            f"Infer.image_shape is {config.Infer.image_shape}, and the evaluation images are {shape} after their "
            "transforms; leave it out, and it follows from them"
        )
    batches = Batches(
        dataset,
        pipeline,
        section.sampler.batch_size,
        shuffle=section.sampler.shuffle,
        drop_last=section.sampler.drop_last,
        seed=config.Global.seed,
        num_workers=section.loader.num_workers,
        rank=distributed.rank(),
        processes=distributed.size(),
        skip_unreadable=skip_unreadable,
    )
    check_labels(dataset, split, config.Arch.class_num)
    return batches


def with_data_facts(config: Config) -> Config:
    """The config with class count, class names and image shape filled in from its data set, where not given."""
    facts: dict[str, Any] = {}
    dataset = _as_it_is(config, "train") if _wants_data(config) else None
    shape = config.Infer.image_shape
    if shape is None:
        shape = Pipeline(transforms(config, "test")).output_shape(dataset.shape)
        facts["Infer.image_shape"] = shape
    if config.Infer.class_names is None:
        facts["Infer.class_names"] = class_names(dataset, config.Arch.class_num)
    if config.Arch.class_num is None:
        facts["Arch.class_num"] = len(facts.get("Infer.class_names") or config.Infer.class_names)
    known = {"in_channels": shape[0], "image_size": shape[1]}
    if not is_external(config.Arch.name):
        facts |= {
            f"Arch.{key}": value
            for key, value in known.items()
            if key not in config.Arch.arguments and BACKBONES.accepts(config.Arch.name, key)
        }
    return with_values(config, facts)


def build_model(config: Config) -> tuple[nn.Layer, list[Report]]:
    """The network of a config whose data facts are filled in, and what each operator changed."""
    arguments = _arch_arguments(config)
    model = create_backbone(config.Arch.name, init="paddle", class_num=config.Arch.class_num, **arguments)
    require_fit(model, config.Infer.image_shape)
    size, reports = [1, *config.Infer.image_shape], []
    for section in config.operators:
        model, report = apply_operator(model, section.choice, section.rules, input_size=size)
        reports.append(report)
    initialise(model, config.Arch.name, config.Arch.init)
    if section := config.AnyWidth:
        conversion = section.model_dump(include={"kind", "widths", "min_width", "divisor", "whole"})
        make_anywidth(model, **conversion, input_size=size)
    return model, reports


def build_optimizer(config: Config, model: nn.Layer, steps_per_epoch: int) -> Any:
    """The optimizer over a network's parameters, with its schedule."""
    schedule_steps = steps_per_epoch * config.Global.epochs
    lr = config.Optimizer.lr
    rates = scaled(lr.arguments, lr_factor(config))
    schedule = SCHEDULES.create(lr.name, steps_per_epoch, schedule_steps, **rates)
    return OPTIMIZERS.create(config.Optimizer.name, schedule, model, **config.Optimizer.arguments)


def images_per_update(config: Config) -> int:
    """Training images, of all processes, whose gradients make one update."""
    return config.DataLoader.Train.sampler.batch_size * distributed.size() * config.Global.update_freq


def lr_factor(config: Config) -> float:
    """What the learning rates of the config are multiplied by."""
    base = config.Global.auto_scale_lr
    return images_per_update(config) / base if base else 1.0


def _arch_arguments(config: Config) -> dict[str, Any]:
    """The backbone's arguments, with the width that an any-width network starts from."""
    arguments, wide = config.Arch.arguments, config.AnyWidth and config.AnyWidth.base_width
    if wide and "width" in arguments:
        raise UserError("Arch.width and AnyWidth.base_width mean the same; give one of them")
    return arguments | {"width": wide} if wide else arguments


def _wants_data(config: Config) -> bool:
    return config.Infer.image_shape is None or config.Infer.class_names is None
