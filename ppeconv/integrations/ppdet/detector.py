"""Training, evaluating and drawing a detector with ppdet's own trainer."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paddle
from paddle import Tensor, nn

from ppeconv import files
from ppeconv.counting import count
from ppeconv.engine import checkpoint, distributed
from ppeconv.engine.devices import has_gpu
from ppeconv.engine.log import logger
from ppeconv.engine.setup import select_backend, select_device
from ppeconv.errors import UserError
from ppeconv.integrations.ppdet import settings
from ppeconv.integrations.ppdet.installed import import_ppdet
from ppeconv.integrations.ppdet.workarounds import work_around
from ppeconv.layers.parameters import parameter_count

FIGURES = "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"
"""The first of what pycocotools gives, fractions of 1; AP is the mean over the IoU thresholds from 0.5 to 0.95."""
CURVE = "results.csv"
"""In the run folder: the figures of every evaluation during training."""


def train(config: Any, evaluate: bool = False, resume: str | None = None) -> Path:
    """Train a detector.

    Args:
        config: see `settings.load`.
        evaluate: measure AP at every snapshot, into results.csv of the run folder too.
        resume: a checkpoint, without its ending, to go on from; "auto" for the newest intact one of the run folder.

    Returns:
        The run folder, `<save_dir>/<name of the file>`, with `model_final.pdparams`.

    Raises:
        UserError: the data, the weights or the checkpoint are not there.
    """
    folder = settings.run_folder(config)
    for name in ("TrainDataset", "EvalDataset") if evaluate else ("TrainDataset",):
        settings.images_of(config, name)
    if evaluate:
        read_curve(folder / CURVE)  # a damaged one is known before the first epoch
    start = newest(folder) if resume == "auto" else resume
    if start and not Path(f"{start}.pdopt").is_file():
        raise UserError(f"there is no checkpoint {start}; give one without its ending, such as {folder / '9'}")
    trainer = make_trainer(config, "train")
    if start:
        trainer.resume_weights(str(start))
        logger.info(f"going on from {start}, epoch {trainer.start_epoch} of {config['epoch']}")
    elif weights := config.get("pretrain_weights"):
        require_weights(weights)
        trainer.load_weights(weights)
    for callback in trainer._callbacks:
        if hasattr(callback, "save_dir"):  # the checkpoints': younger versions leave the name of the file out
            callback.save_dir = str(folder)
    trainer.register_callbacks([_curve(trainer, folder / CURVE)])
    trainer.train(evaluate)
    return folder


def evaluate(config: Any) -> dict[str, float]:
    """AP of trained weights, `config["weights"]`, on EvalDataset, and what the network costs.

    Returns:
        FIGURES, fractions of 1, those that have no boxes left out; "params", trainable ones, and "macs", multiply-adds
        of convolutions and linear layers for one image.
    """
    settings.images_of(config, "EvalDataset")
    shape, trainer = settings.image_shape(config), trained(config, "eval")
    figures = _figures_kept(trainer)
    trainer.evaluate()
    if not figures:
        raise UserError(f"the detector found no box in any picture; is {config['weights']} trained?")
    macs = count(OnImages(trainer.model), [1, *shape]).macs
    return {**figures, "params": parameter_count(trainer.model), "macs": macs}


def draw(config: Any, images: Sequence[str], folder: str | Path, threshold: float = 0.5) -> list[Path]:
    """Draw the boxes that a trained detector finds into copies of pictures.

    Args:
        config: see `settings.load`; its `weights` are taken.
        images: the pictures.
        folder: where the copies go, under the names of the pictures.
        threshold: boxes below this score are left out.
    """
    settings.require_labels(config)
    for image in images:
        if not Path(image).is_file():
            raise UserError(f"there is no picture {image}")
    trainer = trained(config, "test")
    trainer.predict(list(images), draw_threshold=threshold, output_dir=str(folder))
    return [Path(folder) / Path(image).name for image in images]


class OnImages(nn.Layer):
    """A detector as a network of images: [N, C, H, W] -> its outputs, boxes and scores before suppression.

    Detectors that suppress overlapping boxes in any case give what is left.
    """

    def __init__(self, detector: nn.Layer):
        super().__init__()
        self.detector, self.training = detector, detector.training

    def forward(self, image: Tensor) -> Any:
        whole = paddle.ones([paddle.shape(image)[0], 2])
        inputs = {"image": image, "im_shape": whole * paddle.to_tensor(image.shape[2:], "float32")}
        if not suppresses_last(self.detector):
            return self.detector({**inputs, "scale_factor": whole})
        before, self.detector.export_nms = self.detector.export_nms, False
        try:
            return self.detector({**inputs, "scale_factor": whole})
        finally:
            self.detector.export_nms = before


def suppresses_last(model: nn.Layer) -> bool:
    """Whether a detector can leave out the suppression of overlapping boxes."""
    return hasattr(model, "export_nms")


def make_trainer(config: Any, mode: str) -> Any:
    """ppdet's trainer, for "train", "eval" or "test", on the device and with the CPU layers that there are."""
    if config["use_gpu"] and not has_gpu():
        raise UserError(
            "use_gpu is true, but this Paddle sees no GPU; add -o use_gpu=false, or install a GPU build of Paddle"
        )
    work_around()
    engine = import_ppdet("engine")
    device = select_device("gpu" if config["use_gpu"] else "cpu")
    logger.info(select_backend("auto", device))
    if mode == "train" and distributed.size() > 1:
        engine.init_parallel_env()
    engine.set_random_seed(config["seed"])
    config["output_eval"] = str(settings.run_folder(config))
    Path(config["output_eval"]).mkdir(parents=True, exist_ok=True)
    return engine.Trainer(config, mode=mode)


def trained(config: Any, mode: str) -> Any:
    """`make_trainer` with `config["weights"]`."""
    require_weights(config["weights"])
    trainer = make_trainer(config, mode)
    trainer.load_weights(config["weights"])
    return trainer


def newest(folder: Path) -> Path | None:
    """The checkpoint that was written last, without its ending; those that a kill cut short are named and left out."""
    written = [file for file in folder.glob("*.pdopt") if file.stem.isdigit() or file.stem == "model_final"]
    for file in sorted(written, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            for suffix in (".pdopt", ".pdparams"):
                checkpoint.read(file.with_suffix(suffix))
            return file.with_suffix("")
        except UserError as error:
            logger.warning(f"a checkpoint is left out: {error}")
    return None


def require_weights(path: Any) -> None:
    """Raise a UserError where a file of weights, named with or without its ending, is not there."""
    if not isinstance(path, str):
        raise UserError(f"weights are named by a path; got {path!r}")
    if "://" not in path and not Path(path.removesuffix(".pdparams") + ".pdparams").is_file():
        raise UserError(f"there are no weights {path}; train the detector first, or name weights with -o weights=PATH")


def _figures(trainer: Any) -> dict[str, float]:
    """What the last evaluation gave; nothing where no box was found."""
    results = [metric.get_results().get("bbox") for metric in trainer._metrics]
    found: Sequence[float] = next((values for values in results if values is not None), [])
    return {name: float(value) for name, value in zip(FIGURES, found, strict=False) if value >= 0}


def _figures_kept(trainer: Any) -> dict[str, float]:
    """A dictionary into which an evaluation puts its figures; ppdet forgets them when it ends."""
    figures: dict[str, float] = {}

    class Keeper(import_ppdet("engine").Callback):  # type: ignore[misc]
        def on_epoch_end(self, status: Any) -> None:
            figures.update(_figures(trainer))

    trainer.register_callbacks([Keeper(trainer)])
    return figures


def _curve(trainer: Any, file: Path) -> Any:
    """What writes the figures of every evaluation during training into a file, the epochs before a resume kept."""

    class Curve(import_ppdet("engine").Callback):  # type: ignore[misc]
        def on_epoch_end(self, status: Any) -> None:
            if status["mode"] == "eval" and (figures := _figures(trainer)):
                epoch = status["epoch_id"] + 1
                rows = [row for row in read_curve(file) if row["epoch"] < epoch]
                write_curve(file, [*rows, {"epoch": epoch, **figures}])

    return Curve(trainer)


def read_curve(file: Path) -> list[dict[str, float]]:
    """Epoch and figures of every evaluation; nothing where there is no file."""
    if not file.is_file():
        return []
    rows = csv.DictReader(files.read(file, files.TEXT).decode(errors="replace").splitlines())
    try:
        found = [{name: float(row[name]) for name in ("epoch", *FIGURES) if row.get(name)} for row in rows]
    except ValueError as error:
        raise UserError(f"{file} is no table of figures ({error}); move it elsewhere") from None
    if not all("epoch" in row for row in found):
        raise UserError(f"{file} has a row without an epoch; move it elsewhere")
    return found


def write_curve(file: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write what `read_curve` reads, whole or not at all."""
    figures = [[f"{row[name]:.4f}" if name in row else "" for name in FIGURES] for row in rows]
    lines = [[int(row["epoch"]), *cells] for row, cells in zip(rows, figures, strict=True)]
    files.write_table(file, [["epoch", *FIGURES], *lines])
