"""How long recent steps took."""

from __future__ import annotations

import time


class Meter:
    """Mean times of the recent steps; the first steps, slow by nature, are forgotten soon."""

    def __init__(self) -> None:
        self.recent: list[tuple[float, float, int]] = []
        self.last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last call."""
        before, self.last = self.last, time.perf_counter()
        return self.last - before

    def add(self, batch_cost: float, reader_cost: float, images: int) -> None:
        """Take a step into account."""
        self.recent = [*self.recent[-49:], (batch_cost, reader_cost, images)]

    @property
    def batch_cost(self) -> float:
        """Seconds of a step."""
        return sum(cost for cost, _, _ in self.recent) / len(self.recent)

    @property
    def reader_cost(self) -> float:
        """Seconds of it that the batch was waited for."""
        return sum(cost for _, cost, _ in self.recent) / len(self.recent)

    @property
    def ips(self) -> float:
        """Images a second."""
        return sum(count for _, _, count in self.recent) / sum(cost for cost, _, _ in self.recent)
