"""Sums over all positions of a batch, which gradients of weights and biases are.

One chain of sums through all positions loses digits, the more the fewer numbers it makes. So oneDNN sums up short
parts of the positions, as products of matrices, and the parts are added up in float64.
"""

from __future__ import annotations

import math

import numpy as np

from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.execution import matrix_product
from ppeconv.cpu.library.scratch import array_at, exclusive
from ppeconv.cpu.library.threads import workspace

# Positions summed up in one go: as many as keep writing the parts' sums to a sixteenth of reading what is summed up.
_SHORTEST, _LONGEST, _SHARE = 64, 2048, 16
# Numbers in a row up to which products with a column of ones get faster.
_WIDEST = 2048


class ProductSums:
    """(left, right, result): the sums over all positions of the products of left's and right's numbers, by group.

    Left is [positions, groups * m], right [positions, groups * c], the result [groups, m, c].
    """

    def __init__(self, positions: int, groups: int, m: int, c: int):
        self._groups, self._c, self._numbers = groups, c, groups * m * c
        self.chain = min(positions, max(_SHORTEST, min(_LONGEST, _SHARE * m * c // (m + c))))
        whole, rest = divmod(positions, self.chain)
        self._parts, self._products = whole + (rest > 0), []
        for done, parts, chain in (0, whole, self.chain), (whole, 1, rest):
            if chain:
                left = onednn.Layout([parts, groups, m, chain], [chain * groups * m, m, 1, groups * m])
                product = matrix_product(left, self._right(parts, chain), onednn.dense([parts, groups, m, c]))
                start = done * self.chain
                offsets = start * groups * m, start * self._right_width, done * self._numbers
                self._products.append((product, [4 * it for it in offsets]))

    @property
    def _right_width(self) -> int:
        """Numbers of the right operand at one position."""
        return self._groups * self._c

    def _right(self, parts: int, chain: int) -> onednn.Layout:
        groups, c = self._groups, self._c
        return onednn.Layout([parts, groups, chain, c], [chain * groups * c, c, groups * c, 1])

    def __call__(self, left: int, right: int, result: int) -> None:
        with exclusive, np.errstate(all="ignore"):
            sums = workspace.address(4 * self._parts * self._numbers) if self._parts > 1 else result
            for product, (to_left, to_right, to_sums) in self._products:
                product(left + to_left, right + to_right, sums + to_sums)
            if self._parts > 1:
                parts = array_at(sums, (self._parts, self._numbers))
                array_at(result, (self._numbers,))[:] = np.add.reduce(parts, 0, np.float64)


class _OnesBeside(ProductSums):
    """`ProductSums` whose right operand is one short column of ones for all parts."""

    _right_width = 0

    def _right(self, parts: int, chain: int) -> onednn.Layout:
        return onednn.dense([1, 1, chain, 1])


class ColumnSums:
    """(rows, result): the sums over all positions of [positions, channels].

    Neighbouring positions stand beside each other in one row, as products of narrow matrices are slow.
    """

    def __init__(self, positions: int, channels: int):
        room = max(1, _WIDEST // channels)
        together = math.gcd(positions, 1 << room.bit_length() - 1)
        self._shape = together, channels
        self._sums = _OnesBeside(positions // together, 1, together * channels, 1)
        self._ones = np.ones(self._sums.chain, np.float32)

    def __call__(self, rows: int, result: int) -> None:
        sums = np.empty(self._shape, np.float32)
        self._sums(rows, self._ones.ctypes.data, sums.ctypes.data)
        with np.errstate(all="ignore"):
            array_at(result, self._shape[1:])[:] = np.add.reduce(sums, 0, np.float64)
