"""The run folder: everything about one training run."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ppeconv import files
from ppeconv.engine import checkpoint
from ppeconv.engine.lock import Lock
from ppeconv.engine.log import log_to
from ppeconv.errors import UserError

_FOLDERS = "vdl", "vdl/train", "vdl/eval", "vdl/width"
_APPENDED = "train.log", *(f"{folder}/vdlrecords.1.log" for folder in _FOLDERS)
"""Files that are written into; the others are replaced."""
_FILES = (
    *("config.yaml", "results.csv", "curves.png", "per_class.csv", "confusion.png", "width.csv", "width.png"),
    *_APPENDED,
)
_NOT_OF_A_RUN = "train.lock", "inference"
_CHECKPOINT = re.compile(rf"({checkpoint.NAME.pattern})(\.writing)?\.(pdparams|pdopt|pdstates|json)(\.writing)?")


class Run:
    """`config.yaml`, `train.log`, `results.csv`, `curves.png`, `vdl/`, `best_model.*`, `latest.*`, `previous.*`.

    Args:
        path: the folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()

    @property
    def exists(self) -> bool:
        """Whether something was trained here."""
        return (self.path / "config.yaml").is_file()

    def held(self, elsewhere: str = "-o Global.output_dir=DIR") -> str:
        """What to do where something was trained here; `elsewhere` is how to name another folder."""
        return (
            f"{self.path} already holds a run; resume it with -o Global.checkpoints=auto, start anew with "
            f"-o Global.overwrite=true, or write elsewhere with {elsewhere}"
        )

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

    def lock(self) -> Lock:
        """What a training takes before it looks at the folder."""
        return Lock(
            self.path / "train.lock",
            f"a training is under way in {self.path}",
            "wait for its end, or write elsewhere with -o Global.output_dir=DIR",
        )

    def checkpoints(self) -> list[Path]:
        """Prefixes of which there is a file, `best_model`'s too, whether whole or not."""
        return sorted({self.path / match[1] for match in self._checkpoint_files()})

    def unfinished(self) -> list[Path]:
        """Prefixes that a crash has left staged files of, or that are being saved at the moment."""
        return sorted({self.path / match[1] for match in self._checkpoint_files() if match[2] or match[4]})

    def own_files(self) -> list[Path]:
        """Files that training and evaluation write here, by their exact names, those that are there."""
        plain = [self.path / name for name in _FILES]
        candidates = [*plain, *map(files.staged, plain)]
        candidates += [file for prefix in self.checkpoints() for file in checkpoint.own_files(prefix)]
        return [file for file in candidates if os.path.lexists(file)]

    @property
    def is_new(self) -> bool:
        """Whether the folder is yet to be made, or holds nothing, an export apart."""
        return all(entry.name in _NOT_OF_A_RUN for entry in self._entries())

    def require_names(self) -> None:
        """Raise a UserError where something else has the name of a file or folder that is written here."""
        wrong = [file for file in self.own_files() if not file.is_file()]
        links = [name for name in _APPENDED if (self.path / name).is_symlink()]
        if links:
            raise UserError(
                f"{self.path / links[0]} is a link, and a run would write into the file that it leads to; delete it"
            )
        wrong += [folder for name in _FOLDERS if os.path.lexists(folder := self.path / name) and not folder.is_dir()]
        if wrong:
            raise UserError(
                f"{wrong[0]} is a {'folder' if wrong[0].is_dir() else 'file'}, and a run has something else of that "
                "name; move it elsewhere"
            )

    def clear(self) -> None:
        """Delete what an earlier run wrote here; other files in the folder stay."""
        for file in self.own_files():
            file.unlink()

    def _checkpoint_files(self) -> list[re.Match[str]]:
        return [match for entry in self._entries() if (match := _CHECKPOINT.fullmatch(entry.name))]

    def _entries(self) -> list[Path]:
        return sorted(self.path.iterdir()) if self.path.is_dir() else []

    def saved_config(self) -> Path:
        """The file of the config it was trained with, data facts filled in."""
        if not self.exists:
            inside = sorted(file.parent for file in self.path.glob("*/config.yaml"))
            hint = f"; did you mean {inside[0]}?" if inside else ""
            raise UserError(f"{self.path} is not a run folder: it has no config.yaml{hint}")
        return self.path / "config.yaml"

    def open(self, config: str, lock: Lock, clear: bool) -> None:
        """Make the folder, locked and cleared of an older run, write the config into it and start the log."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.take()
            if clear:
                self.clear()
            files.write_whole(self.path / "config.yaml", config.encode())
            log_to(self.path / "train.log")
        except OSError as error:
            raise UserError(f"cannot write the run folder {self.path}: {error.strerror}") from None


def require_no_runs(file: Path) -> None:
    """Raise a UserError for a file that a training wrote into its run folder."""
    place = Path(os.path.realpath(file))
    run = Run(place.parent)
    if os.path.isfile(place) and run.exists and place in run.own_files():
        raise UserError(f"{file} is a file of the run {run.path}; write elsewhere")
