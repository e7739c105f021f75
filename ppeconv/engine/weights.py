"""Weight files: finding, reading and writing them, and putting them into a network."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import paddle
from paddle import Tensor, nn

from ppeconv.data.pickles import load_plain
from ppeconv.engine.checkpoint import payload
from ppeconv.engine.torch_files import is_torch_file, read_torch
from ppeconv.engine.weight_names import fitted, innermost
from ppeconv.errors import UserError
from ppeconv.files import Sealed, write_whole
from ppeconv.pretrained.weights import Weights as Pretrained
from ppeconv.pretrained.weights import is_zoo, named

_SAFETENSORS = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_TORCH_ADVICE = """Where you trust it, save its tensors alone, in PyTorch (for a whole network, append .state_dict()):
  import torch, safetensors.torch
  safetensors.torch.save_file(torch.load("{}", map_location="cpu", weights_only=False), "{}")"""


class Weights(NamedTuple):
    """What a weight file holds: name -> array of a common number type, who wrote it, and how it was understood."""

    arrays: dict[str, np.ndarray]
    from_torch: bool
    notes: list[str]


def read_weights(file: Path | Sealed) -> Weights:
    """The arrays of a `.pdparams`, `.safetensors`, `.pt` or `.pth` file; those in a dictionary inside are found.

    Raises:
        UserError: the file cannot be read, is damaged, holds no arrays, or wants to run code.
    """
    path, stored = (file.path, file.read()) if isinstance(file, Sealed) else (file, payload(file))
    try:
        content, from_torch = _content(path, stored)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} is not a file of weights ({type(error).__name__}: {error})") from None
    arrays, keys = innermost(content)
    if not arrays:
        held = f"; it has {', '.join(map(repr, list(content)[:8]))}" if isinstance(content, dict) else ""
        raise UserError(f"{path} holds no weights; expected a dictionary of arrays{held}")
    notes = [f"taken from {' / '.join(map(repr, keys))}"] if keys else []
    halves = sum(array.dtype == np.uint16 for array in arrays.values())
    notes += [f"{halves} converted from bfloat16"] if halves else []
    return Weights({name: _numbers(path, name, array) for name, array in arrays.items()}, from_torch, notes)


def write_weights(model: nn.Layer, path: Path) -> str:
    """Write a network's weights as `.pdparams` or `.safetensors`; returns the SHA-256 of the file."""
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    if path.suffix == ".safetensors":
        stored = _safetensors(path).numpy.save(arrays)
    elif path.suffix == ".pdparams":
        stored = pickle.dumps(arrays, protocol=4)
    else:
        raise UserError(f"weights are written as .pdparams or .safetensors; got {path}")
    write_whole(path, stored)
    return hashlib.sha256(stored).hexdigest()


def weight_file(path: str | Path) -> Path | Pretrained:
    """The weight file that a user means: with or without suffix, or a run folder, whose best weights are taken.

    "zoo:" and a name mean weights that come with ppeconv.
    """
    if is_zoo(str(path)):
        return named(str(path))
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
            f"there are no weights {path}; looked for {', '.join(map(str, candidates[:3]))} and for the "
            "weights that training writes into a run folder of that name"
        )
    return found


def load_weights(model: nn.Layer, file: Path | Sealed, complete: bool = False, needed: Collection[str] = ()) -> str:
    """Put the weights of a file into a network, in the network's number types.

    Names and layouts of PyTorch are understood, see `weight_names.fitted`.

    Args:
        model: the network.
        file: the weights.
        complete: refuse a file that does not fit in every name and shape.
        needed: names of arrays that the file has to hold.

    Returns:
        What was loaded, how it was understood, what was skipped and what is missing, as a sentence.
    """
    weights, own = read_weights(file), model.state_dict()
    path = file.path if isinstance(file, Sealed) else file
    arrays, notes = fitted(weights.arrays, model, weights.from_torch)
    fitting = {name: value for name, value in arrays.items() if name in own and value.shape == tuple(own[name].shape)}
    tensors = {name: _cast(path, name, value, own[name].dtype) for name, value in fitting.items()}
    types = Counter(str(value.dtype) for name, value in fitting.items() if str(value.dtype) not in str(own[name].dtype))
    skipped, missing = sorted(arrays.keys() - fitting.keys()), sorted(own.keys() - fitting.keys())
    loaded = (
        f"{path}: {len(fitting)} of the network's {len(own)} arrays loaded"
        + _some(", skipped (other name or shape)", skipped)
        + _some(", not in the file", missing)
    )
    converted = [f"{count} converted from {name}" for name, count in types.items()]
    summary = "; ".join([loaded, *weights.notes, *notes, *converted])
    if not fitting or (complete and (missing or skipped)) or set(needed) & set(missing):
        raise UserError(f"these weights are of another network: {summary}")
    model.set_state_dict({**own, **tensors})  # Paddle warns of every array that is not among them
    return summary


def _content(path: Path, stored: bytes) -> tuple[Any, bool]:
    """What a file holds, and whether PyTorch wrote it."""
    if path.suffix == ".safetensors":
        return _from_safetensors(path, stored), False
    from_torch = is_torch_file(stored)
    try:
        return read_torch(stored) if from_torch else load_plain(io.BytesIO(stored)), from_torch
    except UserError as error:
        advice = f". {_TORCH_ADVICE.format(path, path.with_suffix('.safetensors'))}" if from_torch else ""
        raise UserError(f"{path}: {error}{advice}") from None


def _from_safetensors(path: Path, content: bytes) -> dict[str, np.ndarray]:
    arrays = {}
    for name, tensor in _safetensors(path).deserialize(content):
        kind = _SAFETENSORS.get(tensor["dtype"])
        if kind is None:
            raise UserError(f"{path}: {name} is stored as {tensor['dtype']}; known are {', '.join(_SAFETENSORS)}")
        arrays[name] = np.frombuffer(tensor["data"], kind).reshape(tensor["shape"])
    return arrays


def _numbers(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """The array, as float32 where it is of bfloat16: numpy has no such type, and the bits are held as uint16."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    if array.dtype.kind not in "fiub":
        raise UserError(f"{path}: {name} holds values of type {array.dtype}; weights are floats or integers")
    return array


def _cast(path: Path, name: str, value: np.ndarray, dtype: Any) -> Tensor:
    """A tensor of the network's number type, and nothing but rounding on the way."""
    cast = paddle.to_tensor(value).astype(dtype)
    if cast.is_floating_point() != (value.dtype.kind == "f"):
        raise UserError(f"{path}: {name} holds values of type {value.dtype}, the network's are {dtype}")
    if value.dtype == np.float64 and not np.isfinite(cast.numpy()[np.isfinite(value)]).all():
        raise UserError(f"{path}: {name} has numbers too large for the network's {dtype}")
    return cast


def _some(label: str, names: Sequence[str]) -> str:
    return f"{label}: {len(names)} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})" if names else ""


def _safetensors(path: Path) -> ModuleType:
    try:
        import safetensors.numpy
    except ImportError:
        raise UserError(f"{path} needs safetensors: pip install safetensors") from None
    return safetensors
