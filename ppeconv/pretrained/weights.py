"""The weights that come with ppeconv, by name and by the network that they were trained in."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from ppeconv.errors import UserError, nearest
from ppeconv.files import Sealed
from ppeconv.pretrained.record import Record

if TYPE_CHECKING:
    from ppeconv.pretrained.network import Network

FOLDER = Path(__file__).parents[1] / "zoo"
"""`<row>/seed<N>/record.json` of every run, and beside those of one seed `weights.safetensors`."""
PREFIX = "zoo:"
"""Before the name of weights, wherever a run folder or a weight file can be named."""
ANY = "zoo"
"""In place of a name: those of the very network that is asked for."""
_ALL = "`ppeconv list pretrained` names all"


@dataclass(frozen=True)
class Weights(Sealed):
    """Trained weights and what is known of them. Accuracies are fractions of the evaluation images, last epoch."""

    name: str
    """By which they are asked for, such as "resnet20_spconv"."""
    top1: float
    """Accuracy of these weights."""
    accuracies: tuple[float, ...]
    """Of every seed that the network was trained with, these weights' among them."""
    data: str
    """The evaluation images."""
    images_sha256: str
    """Of their pixels."""
    epochs: int
    batch_size: int
    """Images in a step of the training."""
    optimizer: str
    schedule: str
    """Of the learning rate; its figures are in `config["Optimizer"]["lr"]`."""
    params: int
    """Trainable parameters."""
    macs: int
    """Multiply-adds of convolutions and linear layers, one image."""
    image_shape: tuple[int, ...]
    """[C, H, W] that the network takes."""
    transforms: list[dict[str, Any]]
    """What was done to the evaluation images, and has to be done to others."""
    class_names: list[str]
    """In the order of the network's scores."""
    source: str
    """Tag or commit of the code that trained them."""
    config: dict[str, Any]
    """The whole config of the training."""
    licence: str = "Apache-2.0"
    """Of the weights; the images have terms of their own."""
    advice = "install ppeconv anew"

    @classmethod
    def of(cls, record: Record, accuracies: tuple[float, ...], path: Path) -> Weights:
        """Those of a run, with the accuracies of all of the row's runs."""
        config = record.config
        data, optimizer = config["DataLoader"], config["Optimizer"]
        return cls(
            name=record.row,
            top1=record.last_top1,
            accuracies=accuracies,
            data=record.data,
            images_sha256=record.images_sha256,
            epochs=record.epochs,
            batch_size=data["Train"]["sampler"]["batch_size"],
            optimizer=optimizer["name"],
            schedule=optimizer["lr"]["name"],
            params=record.params,
            macs=record.macs,
            image_shape=tuple(config["Infer"]["image_shape"]),
            transforms=data["Eval"]["dataset"]["transform_ops"],
            class_names=config["Infer"]["class_names"],
            source=record.source,
            config=config,
            sha256=record.weights_sha256 or "",
            path=path,
        )

    @property
    def mean_top1(self) -> float:
        """Mean accuracy over the seeds."""
        return mean(self.accuracies)

    @property
    def spread(self) -> tuple[float, float]:
        """Lowest and highest accuracy of a seed."""
        return min(self.accuracies), max(self.accuracies)

    @cached_property
    def network(self) -> Network:
        """What they are weights of."""
        from ppeconv.pretrained.network import Network  # with Paddle, which a list of names does without

        return Network.of(self.config)

    def __str__(self) -> str:
        """A line that tells one from the other."""
        seeds = len(self.accuracies)
        several = f", {seeds} seeds {self.mean_top1:.2%} ({' to '.join(f'{top1:.2%}' for top1 in self.spread)})"
        return (
            f"{self.network}, {self.epochs} epochs: top-1 {self.top1:.2%}{several if seeds > 1 else ''} on {self.data}"
        )


def list_pretrained(pattern: str = "*") -> dict[str, Weights]:
    """Weights that come with ppeconv and whose names match a shell pattern, each with what is known of them."""
    if not isinstance(pattern, str):
        raise UserError(f"list_pretrained takes a pattern of names, such as 'resnet20*'; got {pattern!r}")
    rows: dict[str, list[Path]] = {}
    for folder in record_folders():
        rows.setdefault(folder.parent.name, []).append(folder)
    return {
        name: weights
        for name, folders in rows.items()
        if fnmatch.fnmatch(name, pattern.lower()) and (weights := _weights(folders))
    }


def record_folders(folder: Path | None = None) -> list[Path]:
    """Folders of the zoo's records, or of those below another folder."""
    return [file.parent for file in sorted((folder or FOLDER).glob("*/seed*/record.json"))]


def is_zoo(name: object) -> bool:
    """Whether that is "zoo:" and a name."""
    return isinstance(name, str) and name.startswith(PREFIX)


def named(name: str) -> Weights:
    """The weights of a name, with or without "zoo:" before it."""
    plain, known = name.removeprefix(PREFIX), list_pretrained()
    if plain in known:
        return known[plain]
    if plain in {folder.parent.name for folder in record_folders()}:
        raise UserError(f"of {plain} a record is kept and no weights; {_ALL}")
    raise UserError(f"no weights called {plain!r} come with ppeconv{nearest(plain, known)}")


def trained_in(network: Network, data_set: str | None = None) -> Weights:
    """The weights of a network, the number of classes apart; of several on the same images the most accurate.

    Args:
        network: the one that is asked for.
        data_set: that of the config, such as "MNIST"; it decides where there are weights for several.

    Raises:
        UserError: there are none, or for several sets of images.
    """
    known = list(list_pretrained().values())
    fitting = [weights for weights in known if weights.network.same_as(network)]
    if not fitting:
        close = sorted(known, key=lambda weights: weights.network.distance(network))[:3]
        words = "; ".join(f"{weights.name!r} is of {weights.network}" for weights in close)
        raise UserError(f"no weights of {network} come with ppeconv ({_ALL}); the nearest: {words}")
    own = [weights for weights in fitting if weights.config["DataLoader"]["Train"]["dataset"]["name"] == data_set]
    fitting = own or fitting
    if len({weights.images_sha256 for weights in fitting}) > 1:
        words = " and ".join(f"{weights.name!r} ({weights.data})" for weights in fitting)
        raise UserError(f"there are weights of {network} for several data sets: {words}; name those that are meant")
    return max(fitting, key=lambda weights: weights.top1)


def _weights(folders: list[Path]) -> Weights | None:
    """Those of a row from the folders of its seeds; None where no weights are kept."""
    records = [Record.read(folder) for folder in folders]
    accuracies = tuple(record.last_top1 for record in records)
    for record, folder in zip(records, folders, strict=True):
        if record.weights_sha256:
            return Weights.of(record, accuracies, folder / "weights.safetensors")
    return None
