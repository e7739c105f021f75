"""A trained detector for Paddle Inference and ONNX Runtime, checked against itself."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

import ppeconv
from ppeconv import backend, observe
from ppeconv.deployment.export import Form
from ppeconv.deployment.latency import median_ms
from ppeconv.deployment.manifest import PREFIX
from ppeconv.deployment.rewrite import deploy
from ppeconv.deployment.runtimes import Runtime
from ppeconv.deployment.runtimes.onnx import FILE, open_session
from ppeconv.deployment.runtimes.paddle import open_program
from ppeconv.deployment.source import onnx_operations, paddle_operations, program_files, to_onnx
from ppeconv.errors import UserError, nearest
from ppeconv.extras import present
from ppeconv.integrations.ppdet import detector, settings
from ppeconv.integrations.ppdet.installed import import_ppdet
from ppeconv.registry import RUNTIMES

FILES = "infer_cfg.yml", "model.json", "model.pdmodel", "model.pdiparams", "model.pdiparams.info", "model.onnx"
CHECKED_IMAGES = 3
CHECKED_SCORE = 0.3
"""Boxes from this score on have to be the same; among hundreds of worse ones rounding decides which are suppressed."""
TOLERANCE = 1e-3
"""Largest difference of a score, and of a coordinate relative to the size of the picture, that rounding may make.

PicoDet's scores are roots of products of two sigmoids, and ONNX Runtime's sigmoid is never below 1.5e-8, whose root is
1.2e-4.
"""


def deployed(model: nn.Layer, image_shape: Sequence[int]) -> nn.Layer:
    """A trained detector for inference that finds the same boxes, see `ppeconv.deploy`: backbone, neck and head.

    Args:
        model: a detector of ppdet; it stays as it was.
        image_shape: [C, H, W] of an image.
    """
    return deploy(detector.OnImages(model), [1, *image_shape]).detector


def export(config: Any, folder: str | Path, form: Form = "deployed", to: Sequence[str] = ("paddle",)) -> Path:
    """Write a trained detector in the layout of PaddleDetection's own export.

    Args:
        config: see `settings.load`; its `weights` are taken.
        folder: where `model.json` (Paddle 2: `model.pdmodel`), `model.pdiparams`, `infer_cfg.yml` and, for ONNX,
            `model.onnx` go; those of an older export are replaced once the new ones are complete.
        form: "deployed", see `deployed`, or "trained", layer by layer the detector as it is.
        to: "paddle", "onnx" or both.

    Returns:
        The folder.

    Raises:
        UserError: there are no weights, a package is missing, or the exported detector finds other boxes.
    """
    _require_runtimes(to)
    settings.require_labels(config)
    folder, trainer = Path(folder), detector.trained(config, "test")
    model, inputs = trainer.model, _pictures(config, trainer)
    model.eval()
    with paddle.no_grad():
        expected = [_boxes(model(dict(picture))) for picture in inputs]
    form_of_it = deployed(model, settings.image_shape(config)) if form == "deployed" else model
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        if detector.suppresses_last(model):
            images = np.concatenate([picture["image"].numpy() for picture in inputs])
            network, shape = detector.OnImages(model), settings.image_shape(config)
            ppeconv.export(
                network, Path(scratch, "checked"), shape, form=form, to=list(to), images=images, tolerance=TOLERANCE
            )
        programs = {name: _written(trainer, form_of_it, name, Path(scratch, name)) for name in to}
        for name, place in programs.items():
            run = _RUNNERS[name](place, 1)
            for picture, boxes in zip(inputs, expected, strict=True):
                _require_same(name, run(_arrays(picture)), boxes)
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        for place in programs.values():
            for file in list(place.iterdir()):
                shutil.move(file, folder / file.name.replace(PREFIX, "model"))
    return folder


def measure(config: Any, to: Sequence[str], threads: int = 1, repeats: int = 30) -> dict[tuple[str, Form], float]:
    """Median milliseconds for one image of (runtime, form), measured in turns, without the suppression of boxes.

    Args:
        config: see `settings.load`.
        to: "paddle", "onnx" or both.
        threads: CPU threads.
        repeats: timed calls of each.
    """
    _require_runtimes(to)
    network, shape = detector.OnImages(detector.trained(config, "test").model), settings.image_shape(config)
    network.eval()
    forms: tuple[Form, ...] = "trained", "deployed"
    with tempfile.TemporaryDirectory() as scratch:
        opened: dict[tuple[str, Form], Runtime] = {}
        for form in forms:
            ppeconv.export(network, Path(scratch, form), shape, form=form, to=list(to), tolerance=TOLERANCE)
            opened.update({(name, form): RUNTIMES.get(name)(Path(scratch, form), threads) for name in to})
        image = np.random.default_rng(0).standard_normal((1, *shape), np.float32)
        return median_ms(opened, image, repeats)


def _pictures(config: Any, trainer: Any) -> list[dict[str, Any]]:
    """Some pictures of EvalDataset as the detector takes them, a batch of one each; noise where it is not here."""
    height, width = settings.image_shape(config)[1:]
    try:
        annotations, folder = settings.images_of(config, "EvalDataset")
        names = [image["file_name"] for image in json.loads(annotations.read_bytes())["images"]]
    except (UserError, ValueError, KeyError):  # another machine, or annotations that are not COCO's
        noise = np.random.default_rng(0).standard_normal((1, 3, height, width), np.float32)
        return [
            {
                "image": paddle.to_tensor(noise),
                "im_shape": paddle.to_tensor([[float(height), float(width)]]),
                "scale_factor": paddle.ones([1, 2]),
            }
        ]
    trainer.dataset.set_images([str(folder / name) for name in names[:CHECKED_IMAGES]])
    reader = import_ppdet("core.workspace").create("TestReader")
    return list(reader(trainer.dataset, 0))


def _written(trainer: Any, model: nn.Layer, name: str, folder: Path) -> Path:
    """A detector as the program of a runtime, with the description that PaddleDetection's own tools read."""
    folder.mkdir()
    trainer.model = model
    _, (spec,) = trainer._get_infer_cfg_and_input_spec(str(folder), prune_input=False)
    asked = _asked(model, spec)
    spec = {key: value for key, value in spec.items() if key in asked}
    with onnx_operations() if name == "onnx" else paddle_operations(), observe.evaluating(model):
        forward = model.forward
        static = paddle.jit.to_static(model, input_spec=[spec], full_graph=True)
        try:
            paddle.jit.save(static, str(folder / PREFIX), input_spec=[spec])
        finally:
            model.forward = forward
    if name == "onnx":
        to_onnx(folder)
        for file in program_files(folder):
            file.unlink()
    return folder


class _Asked(dict):
    """Inputs that remember which of them were read."""

    def __init__(self, *values: Any):
        super().__init__(*values)
        self.names: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.names.add(key)
        return super().__getitem__(key)


@paddle.no_grad()
def _asked(model: nn.Layer, spec: Mapping[str, Any]) -> set[str]:
    """The inputs that a detector reads; a program has no others."""
    shapes = {key: [1 if side in (None, -1) else side for side in value.shape] for key, value in spec.items()}
    inputs = _Asked({key: paddle.ones(shape) for key, shape in shapes.items()})
    model(inputs)
    return inputs.names


def _boxes(outputs: Mapping[str, Any]) -> np.ndarray:
    """[boxes, 6]: class, score, x and y of two corners."""
    return outputs["bbox"].numpy()


def _arrays(picture: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {key: value.numpy().astype(np.float32) for key, value in picture.items()}


def _paddle(folder: Path, threads: int) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """An exported detector in Paddle Inference: inputs -> boxes."""
    predictor = open_program(folder, threads)

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        for name in predictor.get_input_names():
            predictor.get_input_handle(name).copy_from_cpu(inputs[name])
        with backend.threads_kept():
            predictor.run()
        return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()

    return run


def _onnx(folder: Path, threads: int) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """An exported detector in ONNX Runtime: inputs -> boxes."""
    session = open_session(folder / FILE, threads)
    names = [entry.name for entry in session.get_inputs()]
    return lambda inputs: session.run(None, {name: inputs[name] for name in names})[0]


_RUNNERS = {"paddle": _paddle, "onnx": _onnx}


def _require_runtimes(names: Sequence[str]) -> None:
    for name in names:
        if name not in _RUNNERS:
            raise UserError(f"a detector cannot be exported to {name!r}{nearest(name, _RUNNERS)}")
    if "onnx" in names:
        for package in ("paddle2onnx", "onnxruntime"):
            present(package, "onnx")


def _require_same(runtime: str, found: np.ndarray, expected: np.ndarray) -> None:
    """Raise a UserError unless every box of one detector is one of the other, those with low scores apart."""
    far = max(_farthest(found, expected), _farthest(expected, found))
    if far > TOLERANCE:
        raise UserError(
            f"the boxes of the detector exported for {runtime} differ from those of the trained one by {far:.2g}, more "
            f"than {TOLERANCE:g}; nothing was written"
        )


def _farthest(boxes: np.ndarray, others: np.ndarray) -> float:
    """The largest distance from a box to the nearest of its class among others."""
    return max((_distance(box, others) for box in boxes if box[1] >= CHECKED_SCORE), default=0.0)


def _distance(box: np.ndarray, others: np.ndarray) -> float:
    same = others[others[:, 0] == box[0]]
    if not len(same):
        return float("inf")
    size = np.abs(others[:, 2:]).max()
    scores, corners = np.abs(same[:, 1] - box[1]), np.abs(same[:, 2:] - box[2:]).max(1) / size
    return float(np.maximum(scores, corners).min())
