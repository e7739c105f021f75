"""The run folder: everything about one training run, and the way back from it to its network."""

from __future__ import annotations

from pathlib import Path

from paddle import nn

from ppeconv import config as configs
from ppeconv.config import Config
from ppeconv.engine.setup import build_model
from ppeconv.engine.weights import load_weights, weight_file
from ppeconv.errors import UserError


class Run:
    """`config.yaml`, `train.log`, `results.csv`, `curves.png`, `vdl/`, `best_model.*`, `latest.*`, `previous.*`.

    Args:
        path: the folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @classmethod
    def of(cls, config: Config, name: str) -> Run:
        """The run that a config of that name trains into."""
        return cls(Path(config.Global.output_dir) / Path(name).stem)

    @property
    def exists(self) -> bool:
        """Whether something was trained here."""
        return (self.path / "config.yaml").is_file()

    @property
    def latest(self) -> Path:
        """Prefix of the newest checkpoint."""
        return self.path / "latest"

    @property
    def previous(self) -> Path:
        """Prefix of the one before."""
        return self.path / "previous"

    @property
    def best(self) -> Path:
        """Prefix of the best weights."""
        return self.path / "best_model"

    def clear(self) -> None:
        """Delete what an earlier run wrote here; other files in the folder stay."""
        for pattern in (
            "config.yaml",
            "train.log",
            "results.csv",
            "curves.png",
            "latest*",
            "previous*",
            "best_model*",
            "epoch_*",
            "width.*",
            "vdl/vdlrecords.*",
            "vdl/width/vdlrecords.*",
        ):
            for file in self.path.glob(pattern):
                file.unlink()

    def config(self, overrides: list[str] | tuple[str, ...] = ()) -> Config:
        """The config it was trained with, data facts filled in."""
        if not self.exists:
            raise UserError(f"{self.path} is not a run folder: it has no config.yaml")
        return configs.load(str(self.path / "config.yaml"), overrides)

    def load_model(self, config: Config | None = None) -> nn.Layer:
        """The trained network in eval mode, with the weights that the config names, else the best ones."""
        config = config or self.config()
        model, _ = build_model(config)
        load_weights(model, weight_file(config.Global.pretrained_model or self.path), complete=True)
        model.eval()
        return model
