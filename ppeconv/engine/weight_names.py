"""From the names and layouts that weight files have to those of a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

import numpy as np
from paddle import nn

_NESTS = (
    *("state_dict_ema", "ema_state_dict", "model_ema", "params_ema", "ema"),
    *("state_dict", "model_state_dict", "model_state", "model", "params", "weights", "network", "net"),
)
"""Under which keys training programs keep weights beside other things; averaged ones are preferred."""
_RENAMED = {"running_mean": "_mean", "running_var": "_variance"}
_LEFT_OUT = "num_batches_tracked"

Arrays = Mapping[str, np.ndarray]


def innermost(content: object) -> tuple[Arrays, list[str]]:
    """The arrays of a file and the keys that lead to them; no arrays where there are none, or several groups."""
    if not isinstance(content, Mapping):
        return {}, []
    arrays = {str(name): value for name, raw in content.items() if (value := _array(raw)) is not None}
    nested = {str(name): found for name, value in content.items() if (found := innermost(value))[0]}
    key = next((name for name in _NESTS if name in nested), None)
    if key is None and not arrays and len(nested) == 1:
        (key,) = nested
    if key is None:
        return arrays, []
    return nested[key][0], [key, *nested[key][1]]


def fitted(arrays: Arrays, model: nn.Layer, from_torch: bool) -> tuple[dict[str, np.ndarray], list[str]]:
    """Arrays under the names and in the layouts of a network, as far as they can be understood.

    PyTorch calls a batch norm's statistics otherwise and keeps linear weights as [out, in], Paddle as [in, out].
    Whether a square one has to be transposed is told by the others of the file, else by its names, else by who wrote
    it.

    Args:
        arrays: those of the file.
        model: the network.
        from_torch: whether PyTorch wrote the file.

    Returns:
        The arrays, all of them but the counters that Paddle does not have, and what was done, in words.
    """
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    arrays, torch_names, notes = _renamed(arrays, own)
    if prefix := _wrapper(arrays, own):
        arrays = {name.removeprefix(prefix): value for name, value in arrays.items()}
        notes.append(f"without the {prefix!r} before the names")
    linear = [
        name
        for path, layer in model.named_sublayers(include_self=True)
        if isinstance(layer, nn.Linear) and (name := f"{path}.weight".lstrip(".")) in arrays
    ]
    turned = {name: arrays[name].T for name in _transposed(arrays, own, linear, torch_names, from_torch)}
    if turned:
        notes.append(f"transposed: {len(turned)} linear weights")
    return arrays | turned, notes


def _renamed(arrays: Arrays, own: Collection[str]) -> tuple[dict[str, np.ndarray], bool | None, list[str]]:
    """With Paddle's names of statistics; whether there were PyTorch's ones, None where the names do not tell."""
    renamed: dict[str, np.ndarray] = {}
    changes: Counter[str] = Counter()
    left_out = 0
    for name, value in arrays.items():
        path, dot, last = name.rpartition(".")
        if last == _LEFT_OUT and name not in own:
            left_out += 1
        elif last in _RENAMED and name not in own:
            renamed[path + dot + _RENAMED[last]] = value
            changes[f"{last} as {_RENAMED[last]}"] += 1
        else:
            renamed[name] = value
    notes = [f"{count} {change}" for change, count in changes.items()]
    notes += [f"{left_out} {_LEFT_OUT} left out"] if left_out else []
    if notes:
        return renamed, True, [f"PyTorch's names: {', '.join(notes)}"]
    paddles = any(name.endswith(tuple(f".{last}" for last in _RENAMED.values())) for name in arrays)
    return renamed, False if paddles else None, []


def _wrapper(arrays: Arrays, own: Mapping[str, tuple[int, ...]]) -> str:
    """What has to go from the beginnings of names, such as "module."; "" where they fit as they are."""
    counts = Counter(prefix for name in arrays for prefix, rest in _splits(name) if rest in own)
    prefix, count = max(counts.items(), key=lambda item: (item[1], -len(item[0])), default=("", 0))
    return prefix if 2 * count > min(len(arrays), len(own)) else ""


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """("", "a.b.c"), ("a.", "b.c"), ("a.b.", "c")."""
    parts = name.split(".")
    for position in range(len(parts)):
        prefix = "".join(f"{part}." for part in parts[:position])
        yield prefix, name[len(prefix) :]


def _transposed(
    arrays: Arrays,
    own: Mapping[str, tuple[int, ...]],
    linear: Collection[str],
    torch_names: bool | None,
    from_torch: bool,
) -> list[str]:
    """The linear weights that have to be turned."""
    shapes = {name: (arrays[name].shape, own[name]) for name in linear}
    oblong = [name for name, (theirs, ours) in shapes.items() if theirs == ours[::-1] != ours]
    as_is = [name for name, (theirs, ours) in shapes.items() if theirs == ours != ours[::-1]]
    square = [name for name, (theirs, ours) in shapes.items() if theirs == ours == ours[::-1]]
    told = from_torch if torch_names is None else torch_names
    turn = bool(oblong) if bool(oblong) != bool(as_is) else told
    return oblong + (square if turn else [])


def _array(value: object) -> np.ndarray | None:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], np.ndarray):
        value = value[1]  # Paddle writes a tensor that is not in a state dict as (name, array)
    return value if isinstance(value, np.ndarray) else None
