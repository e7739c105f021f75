"""The data side of a config: data sets, transforms, batches, and the facts that follow from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from paddle import nn

from ppeconv.backbones.external import is_external
from ppeconv.config import Config, load, with_values
from ppeconv.config.sections import SplitSection
from ppeconv.data.batches import Batches, Pipeline
from ppeconv.data.classes import check_labels, class_names, match_classes
from ppeconv.data.datasets import ArraySet, DataSet, data_root
from ppeconv.data.transforms import Operation, sized
from ppeconv.deployment.images import BATCH, plain_batches
from ppeconv.engine import distributed
from ppeconv.engine.run import Run
from ppeconv.errors import UserError
from ppeconv.registry import BACKBONES, DATASETS

if TYPE_CHECKING:
    from typing_extensions import Self

CALIBRATION_IMAGES = 256
"""Training images from which the ranges of int8 are taken."""
FITTING_IMAGES = 512
"""Training images on which operators are fitted to the convolutions that they replace."""


@dataclass(frozen=True)
class DataParts:
    """What a config describes of data, made when it is asked for.

    Args:
        config: is all there is to know of it, but for what Python gives itself:
        network: in place of that of the section Arch.
        sets: "train" and "test", in place of the data sets of the section DataLoader.
    """

    config: Config
    network: nn.Layer | None = None
    sets: Mapping[str, DataSet] = field(default_factory=dict)

    @classmethod
    def of_run(cls, run: Run) -> Self:
        """Those of the config that a run was trained with, data facts filled in."""
        return cls(load(run.saved_config()))

    def filled(self) -> Self:
        """With class count, class names and image shape filled in from the data set, where not given."""
        config = self.config
        facts: dict[str, Any] = {}
        dataset = self._as_it_is("train") if None in (config.Infer.image_shape, config.Infer.class_names) else None
        shape = config.Infer.image_shape
        if shape is None:
            shape = facts["Infer.image_shape"] = Pipeline(self.transforms("test")).output_shape(dataset.shape)
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
        return replace(self, config=with_values(config, facts))

    def with_classes_of(self, run: Run) -> Self:
        """With the class names of the run whose weights it goes on with: its network has them in that order."""
        return self._with_classes(load(run.saved_config()).Infer.class_names if run.exists else None, str(run.path))

    def _with_classes(self, names: list[str] | None, owner: str) -> Self:
        given = self.config.Infer.class_names
        if not names or given == names:
            return self
        if given and sorted(given) == sorted(names):
            raise UserError(
                f"Infer.class_names are those of {owner} in another order, and its network has them in this one: "
                f"{', '.join(names)}; leave Infer.class_names out"
            )
        return self if given else replace(self, config=with_values(self.config, {"Infer.class_names": names}))

    def dataset(self, split: str) -> DataSet:
        """The data set of "train" or "test", its labels those of the config's class names.

        Large arrays are read only when used.
        """
        dataset, names = self._as_it_is(split), self.config.Infer.class_names
        if names == []:
            raise UserError("Infer.class_names is empty, which suits only what needs no data; leave it out")
        if names:
            match_classes(dataset, names, "training" if split == "train" else "evaluation")
        return dataset

    def images_digest(self, split: str) -> str | None:
        """SHA-256 of the pixels of "train" or "test"; None of images that are files of their own."""
        dataset = self._as_it_is(split)
        return hashlib.sha256(dataset.arrays[0].tobytes()).hexdigest() if isinstance(dataset, ArraySet) else None

    def transforms(self, split: str) -> list[Operation]:
        """The transforms of "train" or "test", each with its size."""
        return sized(self._side(split).dataset.transform_ops, self.config.DataLoader.image_size)

    def batches(self, split: str, skip_unreadable: float | None = None) -> Batches:
        """Training or evaluation batches, their labels checked against the number of classes.

        Args:
            split: "train" or "test".
            skip_unreadable: images that may be left out because they cannot be read; those of the config when None.
        """
        section, expected = self._side(split), self.config.Infer.image_shape
        dataset, pipeline = self.dataset(split), Pipeline(self.transforms(split))
        shape = pipeline.output_shape(dataset.shape)  # transforms that do not fit are refused now, not in the run
        if split == "test" and shape != expected:
            raise UserError(
                f"Infer.image_shape is {expected}, and the evaluation images are {shape} after their transforms; "
                "leave it out, and it follows from them"
            )
        batches = Batches(
            dataset,
            pipeline,
            section.sampler.batch_size,
            shuffle=section.sampler.shuffle,
            drop_last=section.sampler.drop_last,
            seed=self.config.Global.seed,
            num_workers=section.loader.num_workers,
            rank=distributed.rank(),
            processes=distributed.size(),
            skip_unreadable=section.loader.skip_unreadable if skip_unreadable is None else skip_unreadable,
        )
        check_labels(dataset, split, self.config.Arch.class_num)
        return batches

    def plain_images(self, split: str, count: int | None = None, head: str | None = None) -> Iterator[Any]:
        """Real images of "train" or "test" as prediction sees them, see `plain_batches`."""
        pipeline = Pipeline(self.prediction_facts()["transform_ops"])
        yield from plain_batches(self.dataset(split), pipeline, self.config.Global.seed, count, head)

    def some_test_images(self) -> np.ndarray | None:
        """A batch of the test images, or None where the data set is not on this machine."""
        try:
            return next(self.plain_images("test", BATCH), (None, None))[0]
        except UserError:
            return None

    def calibration_images(self, head: str | None = None) -> Iterator[np.ndarray]:
        """Batches of training images from which the ranges of int8 are taken."""
        return (images for images, _ in self.plain_images("train", CALIBRATION_IMAGES, head))

    def prediction_facts(self) -> dict[str, Any]:
        """The part of `inference.yml` that comes from the run: classes and transforms."""
        config, operations = self.config, self.transforms("test")
        resized = any(name in ("CenterCrop", "Resize") for operation in operations for name in operation)
        resize = [] if resized else [{"Resize": {"size": config.Infer.image_shape[1:]}}]
        return {
            "class_names": config.Infer.class_names,
            "transform_ops": [*resize, *operations],
            "arch": config.Arch.name,
            "operators": [section.name for section in config.operators],
        }

    def _side(self, split: str) -> SplitSection:
        return self.config.DataLoader.Train if split == "train" else self.config.DataLoader.Eval

    def _as_it_is(self, split: str) -> DataSet:
        if split in self.sets:
            return copy(self.sets[split])
        section = self._side(split).dataset
        return DATASETS.create(section.name, data_root(self.config.Global.data_root), split, **section.arguments)
