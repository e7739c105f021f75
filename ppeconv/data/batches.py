"""From a data set to batches of tensors.

The order of the images depends on (seed, epoch), the augmentation of one image on (seed, epoch, index), for any number
of workers and processes.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import Tensor
from paddle.io import BatchSampler, DataLoader, Dataset

from ppeconv.data.datasets import DataSet
from ppeconv.data.transforms import Normalize, Operation, Transform
from ppeconv.errors import UserError, WorkersLost, first_line
from ppeconv.registry import TRANSFORMS

_ORDER, _AUGMENTATION = 0, 1
logger = logging.getLogger("ppeconv")
_SHARED_MEMORY = "/dev/shm"
_UNREADABLE = -1
"""The label that a worker gives to an image which it cannot read."""


class Pipeline:
    """A chain of transforms, from uint8 images to float32 [N, C, H, W].

    Args:
        operations: a list of `{name: arguments}`, the last one a Normalize.
    """

    def __init__(self, operations: Sequence[Operation]):
        steps = [(name, arguments or {}) for operation in operations for name, arguments in operation.items()]
        self.transforms: list[Transform] = [TRANSFORMS.create(name, **arguments) for name, arguments in steps]
        if not self.transforms or not isinstance(self.transforms[-1], Normalize):
            raise UserError(f"transform_ops should end with Normalize; got {[name for name, _ in steps]}")

    @property
    def draws(self) -> int:
        """Random numbers that one image needs."""
        return sum(transform.draws for transform in self.transforms)

    def __call__(self, images: Any, random: np.ndarray | None = None) -> np.ndarray:
        random = np.zeros((len(images), self.draws)) if random is None else random
        column = 0
        for transform in self.transforms:
            images = transform(images, random[:, column : column + transform.draws])
            column += transform.draws
        return images

    def output_shape(self, shape: Sequence[int]) -> list[int]:
        """[C, H, W] that an image of `shape` [H, W, C] becomes."""
        return list(self(np.zeros((1, *shape), np.uint8)).shape[1:])


class Batches:
    """Batches (float32 [B, C, H, W], int64 [B, 1]) of a data set, epoch by epoch.

    With several processes each has its share of every batch: together they see the same images in a step as one process
    with a `global_batch_size` would. An incomplete last batch that has no image for some process is left out of `len`.

    Args:
        dataset: the images.
        pipeline: their transforms.
        batch_size: images per batch of this process.
        shuffle: a new order every epoch, or the order of the data set.
        drop_last: leave out an incomplete last batch.
        seed: of order and augmentation.
        num_workers: processes that prepare batches; 0 is this one.
        rank: number of this process among those that train together.
        processes: how many these are.
        skip_unreadable: how many images may be left out because they cannot be read, each with a warning and its reason
            in `unreadable`; one more is raised as a UserError. A batch without any that can be read is empty.
    """

    def __init__(
        self,
        dataset: DataSet,
        pipeline: Pipeline,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        num_workers: int = 0,
        rank: int = 0,
        processes: int = 1,
        skip_unreadable: float = 0,
    ):
        if batch_size < 1:
            raise UserError(f"batch_size should be at least 1; got {batch_size}")
        if len(dataset) < (batch_size if drop_last else 1) * processes:
            raise UserError(
                f"with {len(dataset)} images there is no full batch of {batch_size} for {processes} processes; lower "
                "batch_size, set drop_last to false or start fewer processes"
            )
        self.dataset, self.pipeline, self.batch_size = dataset, pipeline, batch_size
        self.shuffle, self.drop_last, self.seed, self.num_workers = shuffle, drop_last, seed, num_workers
        self.rank, self.processes = rank, processes
        self.skip_unreadable = skip_unreadable
        self.unreadable: dict[int, str] = {}
        """Position in the data set -> what is wrong with its image, of the images that were skipped."""

    def __len__(self) -> int:
        return self._count(len(self.dataset) // self.processes)

    @property
    def image_shape(self) -> list[int]:
        """[C, H, W] of an image."""
        return self.pipeline.output_shape(self.dataset.shape)

    @property
    def global_batch_size(self) -> int:
        """Images of a full batch in all processes."""
        return self.batch_size * self.processes

    def images_in(self, batch: int) -> int:
        """Images of that batch in all processes."""
        return min(self.global_batch_size, len(self.dataset) - batch * self.global_batch_size)

    def epoch(self, epoch: int = 0, start: int = 0, stop: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches number `start` to `stop` of one epoch; not given, all that this process has.

        Ask for no more than is used: Paddle's loader can hang when it is left before its end.
        """
        collate = _Collate(self, epoch)
        own = self._order(epoch)[self.rank :: self.processes]
        stop = self._count(len(own)) if stop is None else min(stop, len(self))
        order = _Order(own, self.batch_size, start, stop)
        for positions, (images, labels) in zip(order, self._loaded(order, collate), strict=True):
            readable = labels.numpy()[:, 0] != _UNREADABLE
            if readable.all():
                yield images, labels
                continue
            self._explain(np.asarray(positions)[~readable])
            kept: Any = paddle.to_tensor(np.flatnonzero(readable)) if readable.any() else slice(0)
            yield images[kept], labels[kept]

    def _loaded(self, order: _Order, collate: _Collate) -> Iterator[tuple[Tensor, Tensor]]:
        if self.num_workers:
            try:
                yield from DataLoader(
                    _Positions(len(self.dataset)), batch_sampler=order, num_workers=self.num_workers, collate_fn=collate
                )
            except (SystemError, RuntimeError, OSError) as error:  # Paddle's reader, which does not know why
                raise WorkersLost(_why_workers_end(self.num_workers, error)) from None
        else:
            for positions in order:
                images, labels = collate(positions)
                yield paddle.to_tensor(images), paddle.to_tensor(labels)

    def _explain(self, positions: np.ndarray) -> None:
        """Note, or raise, what is wrong with images that a worker could not read: a worker has no words for it."""
        for position in sorted(set(positions.tolist()) - self.unreadable.keys()):
            try:
                self.dataset.read(np.array([position]))
                reason = f"image {position} could not be read at first"
            except UserError as error:
                reason = str(error)
            if len(self.unreadable) >= self.skip_unreadable:
                earlier = f", after {len(self.unreadable)} others that were left out" if self.unreadable else ""
                raise UserError(f"{reason}{earlier}")
            self.unreadable[position] = reason
            if math.isfinite(self.skip_unreadable):
                logger.warning(f"{reason}: left out, {len(self.unreadable)} of at most {self.skip_unreadable}")

    def _count(self, images: int) -> int:
        full, rest = divmod(images, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def _order(self, epoch: int) -> np.ndarray:
        count = len(self.dataset)
        return _generator(self.seed, epoch, _ORDER).permutation(count) if self.shuffle else np.arange(count)


def _why_workers_end(workers: int, error: Exception) -> str:
    begin = f"a process that prepares batches has ended (num_workers is {workers})"
    try:
        free = shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:
        return f"{begin}: {first_line(error)}; set num_workers to 0"
    if free < 64 * 2**20:
        return (
            f"{begin}: batches come through {_SHARED_MEMORY}, which has {free // 1024:,} KiB free; make it larger "
            "(docker run --shm-size=2g), or set num_workers to 0"
        )
    return f"{begin}: it was killed, or there was no memory left; see above, and take fewer, or set num_workers to 0"


class _Collate:
    """Turns positions into a batch; this is what runs in a worker."""

    def __init__(self, batches: Batches, epoch: int):
        self.dataset, self.pipeline = batches.dataset, batches.pipeline
        self.labels = batches.dataset.labels
        draws = (len(batches.dataset), batches.pipeline.draws)
        self.random = _generator(batches.seed, epoch, _AUGMENTATION).random(draws, np.float32)

    def __call__(self, positions: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        indices = np.asarray(positions)
        labels = self.labels[indices, None]
        try:
            images = self.dataset.read(indices)
        except UserError:
            images, readable = self._one_by_one(indices)
            labels = np.where(readable[:, None], labels, _UNREADABLE)
        return self.pipeline(images, self.random[indices]), labels

    def _one_by_one(self, indices: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The images, black ones in place of those that cannot be read, and which can be."""
        images, readable = [], np.ones(len(indices), bool)
        for row in range(len(indices)):
            try:
                images += list(self.dataset.read(indices[row : row + 1]))
            except UserError:
                images.append(np.zeros(self.dataset.shape, np.uint8))
                readable[row] = False
        return images, readable


class _Positions(Dataset):
    """The numbers 0 to count - 1; reading happens a batch at a time in `_Collate`."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


class _Order(BatchSampler):
    """Consecutive pieces of a given order."""

    def __init__(self, order: np.ndarray, batch_size: int, start: int, stop: int):
        self.order, self.size, self.start, self.stop = order, batch_size, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self.start, self.stop):
            yield self.order[batch * self.size : (batch + 1) * self.size].tolist()


def _generator(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng((seed, epoch, purpose))
