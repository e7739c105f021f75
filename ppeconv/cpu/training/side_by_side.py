"""Convolution of small images several at a time, side by side in one wide image with zeros in between.

oneDNN's kernels for AMX multiply 16 positions of one row of the result by the weights at a time; where a row has four,
three quarters of the work are for nothing.
"""

from __future__ import annotations

import ctypes
import math
from typing import NamedTuple

from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.execution import reorder
from ppeconv.cpu.library.scratch import aligned, exclusive
from ppeconv.cpu.library.threads import workspace
from ppeconv.cpu.library.window import Geometry
from ppeconv.cpu.training import direct

# Columns of a result up to which copying its images costs less than it saves, if there are enough channels for each;
# docs/cpu_training.md has the measurements.
_MOST_COLUMNS, _MOST_COLUMNS_TO_FILTER = 8, 4
_CHANNELS_PER_COLUMN = 8
# Positions of an image of a 1x1 convolution up to which the same pays. They lie side by side as they are.
_MOST_POSITIONS, _MOST_POSITIONS_TO_FILTER = 64, 16
# Channels of a group below which there is little to save.
_FEWEST_CHANNELS = 16
# Columns of a wide result, and with nothing to copy.
_WIDE, _WIDE_UNCOPIED = 80, 256


class Steps:
    """The three functions of one geometry, called with addresses as oneDNN's primitives are."""

    def __init__(self, geometry: Geometry):
        if not serves(geometry):
            raise onednn.Unsupported("the padding before an image is wider than the kernel reaches")
        wide = _Arrangement.of(geometry)
        self._wide = direct.Steps(wide.geometry)
        self.uses_amx = self._wide.uses_amx
        self._image = _Images(wide.image, wide.together, wide.pitch, geometry.data_type)
        self._result = _Images(wide.result, wide.together, wide.result_pitch, geometry.data_type)

    def forward(self, image: int, weight: int, *others: int) -> None:
        """(image, weight, [bias], result)"""
        *bias, result = others
        with exclusive:
            at_image, at_result = self._rooms()
            target = self._result.target(result, at_result)
            self._wide.forward(self._image.side_by_side(image, at_image), weight, *bias, target)
            self._result.apart(target, result)

    def image_gradient(self, gradient: int, weight: int, image_gradient: int) -> None:
        """(gradient of the result, weight, gradient of the image)"""
        with exclusive:
            at_image, at_result = self._rooms()
            target = self._image.target(image_gradient, at_image)
            self._wide.image_gradient(self._result.side_by_side(gradient, at_result), weight, target)
            self._image.apart(target, image_gradient)

    def weight_gradient(self, image: int, gradient: int, *gradients: int) -> None:
        """(image, gradient of the result, gradient of the weight, [gradient of the bias])"""
        with exclusive:
            at_image, at_result = self._rooms()
            operands = self._image.side_by_side(image, at_image), self._result.side_by_side(gradient, at_result)
            self._wide.weight_gradient_at_once(*operands, *gradients)

    def _rooms(self) -> tuple[int, int]:
        start = workspace.address(self._image.size + self._result.size)
        return start, start + self._image.size


class _Arrangement(NamedTuple):
    """How images are laid side by side: so many `together`, one beginning `pitch` columns after the other."""

    geometry: Geometry
    """Of the wide images."""
    image: tuple[int, ...]
    result: tuple[int, ...]
    together: int
    pitch: int
    result_pitch: int

    @classmethod
    def of(cls, geometry: Geometry) -> _Arrangement:
        if geometry.is_pointwise:
            n, c, height, width = geometry.image
            geometry = geometry._replace(image=(n, c, 1, height * width))
        n, c, height, width = geometry.image
        top, bottom, left, right = geometry.padding
        stride, reach = geometry.stride[1], _reach(geometry)
        result_pitch = max(geometry.result[3], -(-(width + max(left, right)) // stride))
        most = (_WIDE_UNCOPIED if geometry.is_pointwise else _WIDE) // result_pitch
        together = max(it for it in range(1, max(most, 1) + 1) if n % it == 0)
        pitch = stride * result_pitch
        wide = geometry._replace(
            image=(n // together, c, height, together * pitch),
            padding=(top, bottom, left, max(0, reach + 1 - stride - left)),
        )
        return cls(wide, geometry.image, geometry.result, together, pitch, result_pitch)


class _Images:
    """A batch of [N, H, W, C], and the same side by side: `together` to an image, one every `pitch` columns."""

    def __init__(self, shape: tuple[int, ...], together: int, pitch: int, data_type: int):
        n, c, height, width = shape
        images, row = [n // together, together, height, width * c], together * pitch * c
        self._is_same, self._has_gaps = height == 1 and pitch == width, pitch > width
        one_by_one = onednn.dense(images, data_type)
        beside = onednn.Layout(images, [height * row, pitch * c, row, 1], data_type)
        self._join, self._part = reorder(one_by_one, beside), reorder(beside, one_by_one)
        self._bytes = math.prod((n // together, height, row)) * onednn.BYTES[data_type]
        self.size = 0 if self._is_same else aligned(self._bytes)
        """Bytes of a room for them."""

    def side_by_side(self, images: int, room: int) -> int:
        """Where the images lie side by side: in the room if they have to be copied."""
        if self._is_same:
            return images
        if self._has_gaps:
            ctypes.memset(room, 0, self._bytes)
        self._join((images, room))
        return room

    def target(self, images: int, room: int) -> int:
        """Where to write images side by side that `apart` will bring to their place."""
        return images if self._is_same else room

    def apart(self, room: int, images: int) -> None:
        """Bring what lies side by side in the room to its place, if it is not there."""
        if not self._is_same:
            self._part((room, images))


def _reach(geometry: Geometry) -> int:
    """Columns from the first to the last that a kernel looks at."""
    return geometry.dilation[1] * (geometry.weight[3] - 1)


def serves(geometry: Geometry) -> bool:
    """Whether a geometry can be computed this way."""
    return geometry.padding[2] <= _reach(geometry)


def pays_in_weight_gradient(geometry: Geometry) -> bool:
    """Whether the gradient of the weight takes less time this way, by kernels for AMX, than image by image."""
    *_, height, width = geometry.result
    m, per_group = geometry.weight[:2]
    channels = min(per_group, m // geometry.groups)
    if geometry.is_pointwise:
        is_small = height * width <= _MOST_POSITIONS
    else:
        is_small = width <= min(_MOST_COLUMNS, channels // _CHANNELS_PER_COLUMN)
    return is_small and channels >= _FEWEST_CHANNELS and serves(geometry) and _Arrangement.of(geometry).together > 1


def pays_in_filtering(geometry: Geometry) -> bool:
    """Whether the result and the gradient of the image do as well, where the gradient of the weight does."""
    *_, height, width = geometry.result
    if geometry.is_pointwise:
        return height * width <= _MOST_POSITIONS_TO_FILTER
    return width <= _MOST_COLUMNS_TO_FILTER and math.prod(geometry.weight[2:]) > 1
