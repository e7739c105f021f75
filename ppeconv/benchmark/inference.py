"""How long exported networks take."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppeconv import config as configs
from ppeconv import counting
from ppeconv.benchmark.turns import Contestant, take_turns
from ppeconv.deployment.export import Form, export
from ppeconv.deployment.runtimes import open_runtime
from ppeconv.engine.setup import build_model, with_data_facts

BATCH_SIZES = 1, 64


@dataclasses.dataclass(frozen=True)
class InferenceSpeed:
    """One network on one runtime at one batch size."""

    config: str
    runtime: str
    form: str
    batch_size: int
    threads: int
    params: int
    macs: int
    """For one image, of the trained form."""
    median_ms: float
    p90_ms: float
    images_per_second: float
    mac_ratio: float
    """MACs divided by those of the first config."""
    time_ratio: float
    """Median time divided by that of the first config on the same runtime at the same batch size."""


def make_prediction(folder: str, runtime: str, shape: Sequence[int], threads: int) -> Callable[[], Any]:
    """A call of an exported network on one fixed random batch [N, C, H, W]."""
    network = open_runtime(Path(folder), runtime, threads)
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    return lambda: network(images)


def inference_speed(
    names: Sequence[str],
    overrides: Sequence[str] = (),
    *,
    runtimes: Sequence[str] = ("paddle",),
    batch_sizes: Sequence[int] = BATCH_SIZES,
    form: Form = "deployed",
    rounds: int = 5,
    times: int = 2,
) -> list[InferenceSpeed]:
    """The networks of several configs, untrained, exported and timed in turns within one run.

    Args:
        names: files or names of configs; the ratios are to the first.
        overrides: `Section.key=value`, for all of them.
        runtimes: "paddle", "onnx".
        batch_sizes: images in a call.
        form: see `export`.
        rounds, times: turns of each network, and timed calls in a turn.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    rows: list[InferenceSpeed] = []
    with tempfile.TemporaryDirectory() as scratch:
        counts, shapes = {}, {}
        for number, name in enumerate(names):
            settings = with_data_facts(configs.load(name, overrides))
            paddle.seed(settings.Global.seed)
            model, _ = build_model(settings)
            shapes[number] = list(settings.Infer.image_shape)
            counts[number] = counting.count(model, shapes[number])
            export(model, Path(scratch) / str(number), shapes[number], form=form, targets=runtimes)
        for runtime in runtimes:
            for batch in batch_sizes:
                contestants = {
                    number: Contestant(
                        {
                            "make": "ppeconv.benchmark.inference:make_prediction",
                            "arguments": {
                                "folder": str(Path(scratch) / str(number)),
                                "runtime": runtime,
                                "shape": [batch, *shape],
                                "threads": threads,
                            },
                        }
                    )
                    for number, shape in shapes.items()
                }
                taken = take_turns(contestants, rounds, times)
                medians = {number: float(np.median(values)) for number, values in taken.items()}
                rows += [
                    InferenceSpeed(
                        name,
                        runtime,
                        form,
                        batch,
                        threads,
                        counts[number].params,
                        counts[number].macs,
                        medians[number],
                        float(np.percentile(taken[number], 90)),
                        1000 * batch / medians[number],
                        counts[number].macs / counts[0].macs,
                        medians[number] / medians[0],
                    )
                    for number, name in enumerate(names)
                ]
    return rows
