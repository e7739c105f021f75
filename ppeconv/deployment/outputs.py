"""What a network gives: one tensor, or a tuple, list or dict of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ppeconv.errors import UserError

if TYPE_CHECKING:
    from paddle import Tensor


def named_outputs(output: Any) -> dict[str, Tensor]:
    """The tensors of a network's output, in the order in which an exported network gives them.

    The name of a tensor is its key or its number, of one further inside all of these with dots between ("boxes.0"), and
    empty where the output is a tensor. Dicts are in the order of their keys; what is None is left out.

    Raises:
        UserError: there is something else in it, or nothing.
    """
    found = dict(_walk(output, ""))
    if not found:
        raise UserError("a network that is deployed or exported gives a tensor or several; this one gives none")
    return found


def tensors(output: Any) -> list[Tensor]:
    """The tensors of a network's output."""
    return list(named_outputs(output).values())


def arrays(result: np.ndarray | list[np.ndarray]) -> list[np.ndarray]:
    """What a runtime returned, as a list."""
    return result if isinstance(result, list) else [result]


def one_or_all(results: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    """What a runtime returns: the array where there is one, else all of them."""
    return results[0] if len(results) == 1 else results


def _walk(output: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    from paddle import Tensor

    if isinstance(output, Tensor):
        yield name, output
    elif isinstance(output, Mapping):
        for key in sorted(output):
            yield from _walk(output[key], f"{name}.{key}" if name else str(key))
    elif isinstance(output, (list, tuple)):
        for place, part in enumerate(output):
            yield from _walk(part, f"{name}.{place}" if name else str(place))
    elif output is not None:
        raise UserError(
            "a network that is deployed or exported gives a tensor, or a tuple, list or dict of tensors; this one "
            f"gives a {type(output).__name__}{f' as {name}' if name else ''}"
        )
