"""Weight files: finding, reading and writing them, and putting them into a network."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from paddle import nn

from ppeconv.engine.checkpoint import read
from ppeconv.engine.files import write_whole
from ppeconv.errors import UserError


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Name -> array of a weight file."""
    content = _read_safetensors(path) if path.suffix == ".safetensors" else read(path)
    arrays = {}
    for name, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], np.ndarray):
            value = value[1]  # Paddle writes a tensor that is not in a state dict as (name, array)
        if isinstance(value, np.ndarray):
            arrays[name] = value
    if not arrays:
        raise UserError(f"{path} holds no weights; expected a dictionary of arrays")
    return arrays


def write_weights(model: nn.Layer, path: Path) -> None:
    """Write a network's weights as `.pdparams` or `.safetensors`."""
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    if path.suffix == ".safetensors":
        write_whole(path, _safetensors(path).save(arrays))
    elif path.suffix == ".pdparams":
        write_whole(path, pickle.dumps(arrays, protocol=4))
    else:
        raise UserError(f"weights are written as .pdparams or .safetensors; got {path}")


def weight_file(path: str | Path) -> Path:
    """The weight file that a user means: with or without suffix, or a run folder, whose best weights are taken."""
    path = Path(path)
    candidates = [
        path,
        path.with_name(path.name + ".pdparams"),
        path.with_name(path.name + ".safetensors"),
        path / "best_model.pdparams",
        path / "latest.pdparams",
    ]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise UserError(
            f"there are no weights {path}; looked for {', '.join(map(str, candidates[:3]))} and for a run "
            "folder of that name"
        )
    return found


def load_weights(model: nn.Layer, file: Path, complete: bool = False) -> str:
    """Put the weights of a file into a network; returns what was loaded, skipped and missing, as a sentence.

    Args:
        model: the network.
        file: the weights.
        complete: refuse a file that does not fit in every name and shape.
    """
    arrays, own = read_weights(file), model.state_dict()
    fitting = {
        name: value for name, value in arrays.items() if name in own and list(value.shape) == list(own[name].shape)
    }
    skipped, missing = sorted(arrays.keys() - fitting.keys()), sorted(own.keys() - fitting.keys())
    summary = (
        f"{file}: {len(fitting)} of the network's {len(own)} arrays loaded"
        + _some(", skipped (other name or shape)", skipped)
        + _some(", not in the file", missing)
    )
    if not fitting or (complete and (missing or skipped)):
        raise UserError(f"these weights are of another network: {summary}")
    model.set_state_dict(fitting)
    return summary


def _some(label: str, names: Sequence[str]) -> str:
    return f"{label}: {len(names)} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})" if names else ""


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return _safetensors(path).load(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} is not a file of weights ({type(error).__name__}: {error})") from None


def _safetensors(path: Path) -> ModuleType:
    try:
        from safetensors import numpy
    except ImportError:
        raise UserError(f"{path} needs safetensors: pip install safetensors") from None
    return numpy
