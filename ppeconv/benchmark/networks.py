"""The networks that are measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from paddle import nn

from ppeconv import counting
from ppeconv.benchmark import lanes
from ppeconv.counting import Counts
from ppeconv.deployment.export import Form, export
from ppeconv.deployment.rewrite import deploy
from ppeconv.errors import UserError
from ppeconv.registry import RUNTIMES


@dataclasses.dataclass(frozen=True)
class Images:
    """Real images that a trained network is checked and calibrated on, read when they are asked for."""

    some: Callable[[], np.ndarray | None]
    """A batch [N, C, H, W], or None where there are none on this machine."""
    calibration: Callable[[], Iterator[np.ndarray]]
    """Batches from which the ranges of runtimes that quantize are taken."""


@dataclasses.dataclass(frozen=True)
class Network:
    """One of those that are compared."""

    name: str
    """The config's or the run folder's, as the user gave it."""
    model: nn.Layer
    image_shape: Sequence[int]
    """[C, H, W]."""
    class_num: int
    images: Images | None = None
    """Of a trained network."""

    @cached_property
    def counts(self) -> Counts:
        """Of the trained form, for one image."""
        return counting.count(self.model, self.image_shape)

    def export(self, folder: Path, runtimes: Sequence[str], form: Form) -> None:
        """Write it for runtimes, a trained one checked and calibrated on images of its data set.

        Raises:
            UserError: one of them cannot have it; see `ppeconv.deployment.export.export`.
        """
        quantizing = [runtime for runtime in runtimes if RUNTIMES.get(runtime).quantizes]
        if quantizing and not self.images:
            raise UserError(f"{quantizing[0]} needs trained weights and images to calibrate on; name a run")
        calibration = self.images.calibration() if quantizing and self.images else None
        images = self.images.some() if self.images else None
        export(self.model, folder, self.image_shape, form=form, to=runtimes, images=images, calibration=calibration)

    def uneven_convolutions(self, form: Form) -> dict[str, str]:
        """Those of the form that is measured, see `lanes`; none where it cannot be made, as its rows will say."""
        try:
            model = deploy(self.model, self.image_shape) if form == "deployed" else self.model
        except UserError:
            return {}
        return lanes.uneven_convolutions(model, self.image_shape, self.class_num)
