"""What `ppeconv.benchmark` measures, made of configs and runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import paddle

from ppeconv import counting
from ppeconv.benchmark.networks import Images, Network
from ppeconv.benchmark.training import Trainee, TrainingSpeed, training_speed, training_step
from ppeconv.engine.precision import Precision
from ppeconv.engine.setup import select_backend
from ppeconv.experiment.experiment import Experiment


def of_config(source: str | Mapping[str, Any], overrides: Sequence[str] = ()) -> Network:
    """The untrained network of a config: its file, its name among the shipped ones, or its sections."""
    parts = Experiment(source, overrides).parts.filled()
    config = parts.config
    paddle.seed(config.Global.seed)
    name = source if isinstance(source, str) else config.Arch.name
    return Network(name, parts.model()[0], list(config.Infer.image_shape), config.Arch.class_num)


def of_run(folder: str, overrides: Sequence[str] = ()) -> Network:
    """The trained network of a run folder; an any-width one at its full width."""
    experiment = Experiment.open(folder, overrides)
    parts, config, model = experiment.parts, experiment.config, experiment.model
    parts.calibrate(model, [1.0])
    images = Images(parts.some_test_images, parts.calibration_images)
    return Network(folder, model, list(config.Infer.image_shape), config.Arch.class_num, images)


def make_step(config: str, overrides: Sequence[str], batch_size: int | None, layers: str) -> Callable[[], None]:
    """A training step of a config's network on one fixed random batch.

    Args:
        config: file or name of the config.
        overrides: `Section.key=value`.
        batch_size: images; the config's own when None.
        layers: "onednn", or "paddle" for a process in which nothing of ppeconv touches Paddle's layers or memory; those
            have no mixed precision on a CPU, and train in float32 whatever the config says.
    """
    if layers == "onednn":
        select_backend("onednn", "cpu")
    parts = Experiment(config, overrides).parts.filled()
    settings = parts.config
    paddle.seed(settings.Global.seed)
    model, _ = parts.model()
    size = batch_size or settings.DataLoader.Train.sampler.batch_size
    shape, classes = settings.Infer.image_shape, settings.Arch.class_num
    precision = parts.precision("cpu") if layers == "onednn" else Precision()
    return training_step(model, parts.optimizer(model, 1000), parts.loss("Train"), shape, classes, size, precision)


def speed_of_training(
    configs: Sequence[str],
    overrides: Sequence[str] = (),
    *,
    batch_size: int | None = None,
    stock: bool = True,
    rounds: int = 5,
    times: int = 2,
) -> list[TrainingSpeed]:
    """Training steps of configs' networks, see `training_speed`; each config's own batch size when None."""
    trainees = [trainee(config, overrides, batch_size) for config in configs]
    return training_speed(trainees, stock=stock, rounds=rounds, times=times)


def trainee(config: str, overrides: Sequence[str], batch_size: int | None) -> Trainee:
    """The network of a config as what a training step is measured of; its own batch size when None."""
    parts = Experiment(config, overrides).parts.filled()
    counts = counting.count(parts.model()[0], [1, *parts.config.Infer.image_shape])
    size = batch_size or parts.config.DataLoader.Train.sampler.batch_size
    make = f"{make_step.__module__}:{make_step.__name__}"
    return Trainee(config, counts, size, make, {"config": config, "overrides": list(overrides)})
