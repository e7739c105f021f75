"""Several processes that train one network; the only file that knows Paddle's communication.

`python -m paddle.distributed.launch` starts the processes. Each computes the gradients of its share of a batch; before
an update these are added up and the running statistics of batch norms averaged, so that network, optimizer and
schedule are always the same in all processes. The first one alone reads and writes the run folder and keeps the log.
In a single process everything here returns at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import paddle
import paddle.distributed as dist
from paddle import Tensor, nn

from ppeconv.errors import UserError
from ppeconv.layers.statistics import running_statistics

T = TypeVar("T")


def join() -> None:
    """Meet the other processes of the launcher's job, once the device has been chosen."""
    if size() > 1:
        with _contact():
            dist.init_parallel_env()


def size() -> int:
    """Number of processes."""
    return dist.get_world_size()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank()


def is_first() -> bool:
    """Whether this process reads and writes the run folder."""
    return rank() == 0


def from_first(make: Callable[[], T]) -> T:
    """What `make` returns in the first process, handed to all; it is called nowhere else. Its UserErrors too."""
    if size() == 1:
        return make()
    parcel: list = [None]
    if is_first():
        try:
            parcel = [(make(), None)]
        except UserError as error:
            parcel = [(None, str(error))]
    with _contact():
        dist.broadcast_object_list(parcel, 0)
    made, problem = parcel[0]
    if problem:
        raise UserError(problem)
    return made


def start_alike(model: nn.Layer) -> None:
    """Give the network the first process's weights."""
    if size() > 1:
        model.set_state_dict(from_first(lambda: {name: value.numpy() for name, value in model.state_dict().items()}))


def add_up(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """The sums over all processes of a vector of numbers, in float64."""
    total = np.asarray(values, np.float64)
    if size() == 1:
        return total
    tensor = paddle.to_tensor(total)
    with _contact():
        dist.all_reduce(tensor)
        return tensor.numpy()


@paddle.no_grad()
def combine(model: nn.Layer) -> None:
    """Add up the gradients of all processes and average the running statistics of batch norms, in place.

    A parameter, or a buffer that is trained, may be without a gradient in some processes; without one in all of them
    it stays so.
    """
    if size() == 1:
        return
    trained = [tensor for tensor in (*model.parameters(), *model.buffers()) if not tensor.stop_gradient]
    users = add_up([tensor.grad is not None for tensor in trained])
    used = [tensor for tensor, count in zip(trained, users, strict=True) if count]
    for tensor in used:
        if tensor.grad is None:
            tensor.grad = paddle.zeros_like(tensor)
    _all_reduce([tensor.grad for tensor in used])
    _all_reduce(running_statistics(model), scale=1 / size())


def _all_reduce(tensors: Sequence[Tensor], scale: float = 1.0) -> None:
    """Replace tensors by `scale` times their sums over all processes, with one message for each data type."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):  # in the same order everywhere
        same = [tensor for tensor in tensors if tensor.dtype == dtype]
        message = paddle.concat([tensor.flatten() for tensor in same])
        with _contact():
            dist.all_reduce(message)
        pieces = paddle.split(message * scale, [tensor.size for tensor in same])
        for tensor, piece in zip(same, pieces, strict=True):
            tensor.set_value(piece.reshape(tensor.shape))


@contextmanager
def _contact() -> Iterator[None]:
    """Turns a failure of the communication, which is how a process learns that another has died, into a sentence."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise UserError(
            f"process {rank()} of {size()} lost the others ({reason}): one of them has ended, or a machine cannot be "
            "reached. Why is in the workerlog.* files of that process's machine, in the launcher's log folder; go on "
            "from the newest checkpoint with -o Global.checkpoints=auto"
        ) from None
