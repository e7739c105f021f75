"""Network against network, each on the runtime that suits it best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from ppeconv.benchmark.inference import InferenceSpeed


@dataclasses.dataclass(frozen=True)
class Fastest:
    """A network at one batch size on its fastest runtime."""

    network: str
    batch_size: int
    runtime: str
    median_ms: float
    mac_ratio: float
    """MACs divided by those of the first network."""
    time_ratio: float
    """Median time divided by that of the first network on the first network's fastest runtime."""


def fastest(rows: Sequence[InferenceSpeed]) -> list[Fastest]:
    """A line for each batch size and network that ran; none of a batch size at which the first network did not."""
    lines = []
    for batch in dict.fromkeys(row.batch_size for row in rows):
        best: dict[str, tuple[float, InferenceSpeed]] = {}
        for row in rows:
            if row.batch_size == batch and row.median_ms is not None:
                median, _ = best.get(row.network, (math.inf, None))
                if row.median_ms < median:
                    best[row.network] = row.median_ms, row
        if rows[0].network in best:
            first, _ = best[rows[0].network]
            lines += [
                Fastest(name, batch, row.runtime, median, row.mac_ratio, median / first)
                for name, (median, row) in best.items()
            ]
    return lines
