"""What is kept of a finished training run: one JSON file, its table of epochs, and its weights."""

from __future__ import annotations

import csv
import importlib.metadata
import platform
import shutil
from pathlib import Path

import numpy as np
import paddle

import ppeconv
from ppeconv.anywidth import count_width, narrow
from ppeconv.counting import count
from ppeconv.engine import checkpoint
from ppeconv.engine.evaluator import evaluate
from ppeconv.engine.run import Run
from ppeconv.engine.weights import load_weights, write_weights
from ppeconv.experiment.parts import Parts
from ppeconv.pretrained.record import Record
from ppeconv.zoo.rows import Job, named_images

WIDTHS = 10
"""At how many widths an any-width network is evaluated."""


def keep(job: Job, run: Run, root: Path, source: str) -> Record:
    """Write what is kept of a finished run below the checkout `root`; the record last, as it says that all is there."""
    folder = root / "ppeconv" / "zoo" / job.folder
    folder.mkdir(parents=True, exist_ok=True)
    parts = Parts.of_run(run)
    table = root / "docs" / "results" / f"{job.name}.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run.path / "results.csv", table)
    model, _ = parts.model()
    load_weights(model, run.latest.with_name("latest.pdparams"), complete=True)
    model.eval()
    digest = None
    if job.row.weights and job.seed == job.row.seeds[0]:
        digest = write_weights(model, folder / "weights.safetensors")
    record = _record(job, run, parts, model, source, digest)
    record.write(folder)
    return record


def _record(job: Job, run: Run, parts: Parts, model: paddle.nn.Layer, source: str, digest: str | None) -> Record:
    config = parts.config
    with open(run.path / "results.csv", encoding="utf-8") as file:
        epochs = list(csv.DictReader(file))
    best = max(epochs, key=lambda epoch: float(epoch["eval_top1"] or 0))
    counts = count(model, [1, *config.Infer.image_shape])
    states = checkpoint.read(run.latest.with_name("latest.pdstates"))
    images = str(parts.images_digest("test"))  # the zoo's data sets are in memory
    return Record(
        job.row.name,
        job.row.table,
        job.seed,
        config.Global.epochs,
        float(epochs[-1]["eval_top1"]),
        float(best["eval_top1"]),
        int(best["epoch"]),
        counts.params,
        counts.macs,
        round(sum(float(epoch["seconds"]) for epoch in epochs), 1),
        named_images(images, config.DataLoader.Eval.dataset.name),
        images,
        source,
        versions(),
        states["listeners"]["Checkpoints"]["computed_by"],
        config.model_dump(),
        _widths(parts, model) if config.AnyWidth else [],
        digest,
    )


def _widths(parts: Parts, model: paddle.nn.Layer) -> list[dict[str, float]]:
    """The accuracy-width curve of an any-width network."""
    config, batches, loss = parts.config, parts.batches("test"), parts.loss("Eval")
    widths = np.linspace(config.AnyWidth.min_width, 1, WIDTHS).round(4).tolist()
    parts.calibrate(model, widths)
    rows = []
    for width in widths:
        network = narrow(model, width)
        network.eval()
        counts = count_width(model, [1, *config.Infer.image_shape], width)
        result = evaluate(network, batches, loss, [1], config.Arch.class_num)
        rows.append({"width": width, "top1": result.top1, "params": counts.active_params, "macs": counts.active_macs})
    return rows


def versions() -> dict[str, str]:
    """What computed."""
    packages = {name: importlib.metadata.version(name) for name in ("numpy", "pillow")}
    return {
        "ppeconv": ppeconv.__version__,
        "python": platform.python_version(),
        "paddle": paddle.__version__,
        **packages,
    }
