"""Work kept on disk, so that a run that was stopped goes on where it was: shortlists, fitted layers, what it took."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paddle import nn

from ppeconv import files
from ppeconv.engine.lock import Lock
from ppeconv.engine.weights import load_weights, write_weights
from ppeconv.errors import UserError
from ppeconv.slimming.options import Option
from ppeconv.slimming.positions import Position


def alone(folder: Path) -> Lock:
    """Nobody else works in a folder inside a `with` block; it is made where it is not there.

    Raises:
        Busy: somebody does.
        UserError: it cannot be written.
    """
    make_folder(folder)
    lock = Lock(folder / "slim.lock", f"slim is at work in {folder} already", "wait for its end or take another folder")
    lock.take()
    return lock


class Kept:
    """A folder with a file for each shortlist, two for each fit (weights, and error and rise of the loss), and one for
    the time that all of it took.

    Args:
        folder: of the files; nothing is kept when not given.
        facts: what fits depend on besides position and option: the weights of the network, the images, the loss, the
            seed.
    """

    def __init__(self, folder: Path | None, facts: Mapping[str, Any]):
        self.folder, self.facts = folder, dict(facts)

    def fit(self, position: Position, option: Option, layer: nn.Layer) -> tuple[float, float] | None:
        """Error and rise of a fit of before, whose weights the layer then has; None where there is none."""
        file = self._file({"position": position.path, "option": str(option)})
        known = self._read(file)
        try:
            error, rise = float(known["error"]), float(known["rise"])
            if layer.state_dict():
                weights = files.Sealed(file.with_suffix(".safetensors"), known["digest"])
                load_weights(layer, weights, complete=True)
        except (LookupError, TypeError, ValueError, UserError):
            return None
        return error, rise

    def keep_fit(self, position: Position, option: Option, layer: nn.Layer, error: float, rise: float) -> None:
        """Keep a fit; its numbers come last, so that they stand for weights that are whole."""
        what = {"position": position.path, "option": str(option)}
        numbers: dict[str, Any] = {"error": error, "rise": rise}
        if self._has_room() and layer.state_dict():
            numbers["digest"] = write_weights(layer, self._file(what).with_suffix(".safetensors"))
        self._write(self._file(what), {**what, **numbers})

    def shortlist(self, geometry: str, of: Mapping[str, Any]) -> list[Option] | None:
        """The options of a geometry that were found before, when these facts were as now; None where there are none."""
        try:
            listed = self._read(self._file({"geometry": geometry, **of}))["options"]
            return [Option(**entry).checked() for entry in listed]
        except (LookupError, TypeError, ValueError, AttributeError, UserError):
            return None

    def keep_shortlist(self, geometry: str, of: Mapping[str, Any], options: Sequence[Option]) -> None:
        """Keep the options of a geometry."""
        what = {"geometry": geometry, **of}
        listed = [{"name": it.name, "arguments": it.arguments} for it in options]
        self._write(self._file(what), {**what, "options": listed})

    def seconds(self, of: Mapping[str, Any]) -> dict[str, float]:
        """What each phase has taken so far, when these facts were as now."""
        try:
            return {
                str(name): float(value) for name, value in self._read(self._file({"phases": of}))["seconds"].items()
            }
        except (LookupError, TypeError, ValueError, AttributeError):
            return {}

    def keep_seconds(self, of: Mapping[str, Any], seconds: Mapping[str, float]) -> None:
        """Keep what each phase has taken so far."""
        self._write(self._file({"phases": of}), {"phases": of, "seconds": dict(seconds)})

    def _has_room(self) -> bool:
        """Whether there is a folder, which is made where it is not there."""
        if not self.folder:
            return False
        make_folder(self.folder)
        return True

    def _read(self, file: Path) -> dict[str, Any]:
        """Empty where there is no such file, or it is damaged."""
        try:
            content = json.loads(files.read(file, files.TEXT)) if self.folder else {}
        except (OSError, ValueError, RecursionError, UserError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write(self, file: Path, content: Mapping[str, Any]) -> None:
        if self._has_room():
            files.write_whole(file, json.dumps(content).encode())

    def _file(self, what: Mapping[str, Any]) -> Path:
        name = hashlib.sha256(json.dumps({**self.facts, **what}, sort_keys=True).encode()).hexdigest()[:20]
        return Path(self.folder or "", f"{name}.json")


def make_folder(folder: Path) -> None:
    """Make it where it is not there; raises UserError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from None
