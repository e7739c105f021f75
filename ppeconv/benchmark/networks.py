"""The networks that are measured: of a config, with random weights, or of a run, as it was trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import paddle
from paddle import nn

from ppeconv import config as configs
from ppeconv import counting
from ppeconv.benchmark import lanes
from ppeconv.config import Config
from ppeconv.counting import Counts
from ppeconv.deployment.export import Form, export
from ppeconv.deployment.images import CALIBRATION_IMAGES, batches, some_test_images
from ppeconv.deployment.rewrite import deploy
from ppeconv.engine.run import Run
from ppeconv.engine.setup import build_model, with_data_facts
from ppeconv.engine.widths import calibrate_for
from ppeconv.errors import UserError


@dataclasses.dataclass(frozen=True)
class Network:
    """One of those that are compared."""

    name: str
    """The config's or the run folder's, as the user gave it."""
    config: Config
    model: nn.Layer
    trained: bool

    @property
    def image_shape(self) -> list[int]:
        """[C, H, W]."""
        return list(self.config.Infer.image_shape)

    @cached_property
    def counts(self) -> Counts:
        """Of the trained form, for one image."""
        return counting.count(self.model, self.image_shape)

    def export(self, folder: Path, runtime: str, form: Form) -> None:
        """Write it for one runtime, a trained one checked and calibrated on images of its data set.

        Raises:
            UserError: the runtime cannot have it; see `ppeconv.deployment.export.export`.
        """
        calibration = None
        if runtime == "int8":
            if not self.trained:
                raise UserError("int8 needs trained weights and images to calibrate on; name a run")
            calibration = (images for images, _ in batches(self.config, "train", CALIBRATION_IMAGES))
        images = some_test_images(self.config) if self.trained else None
        export(self.model, folder, self.image_shape, form=form, to=runtime, images=images, calibration=calibration)

    def uneven_convolutions(self, form: Form) -> dict[str, str]:
        """Those of the form that is measured, see `lanes`; none where it cannot be made, as its rows will say."""
        try:
            model = deploy(self.model, self.image_shape) if form == "deployed" else self.model
        except UserError:
            return {}
        return lanes.uneven_convolutions(model, self.image_shape, self.config.Arch.class_num)


def of_config(name: str, overrides: Sequence[str] = ()) -> Network:
    """The untrained network of a config: its file, or its name among the shipped ones."""
    config = with_data_facts(configs.load(name, overrides))
    paddle.seed(config.Global.seed)
    return Network(name, config, build_model(config)[0], trained=False)


def of_run(folder: str, overrides: Sequence[str] = ()) -> Network:
    """The trained network of a run folder; an any-width one at its full width."""
    run = Run(folder)
    config = run.config(overrides)
    model = run.load_model(config)
    calibrate_for(model, config, [1.0])
    return Network(folder, config, model, trained=True)
