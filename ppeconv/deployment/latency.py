"""How long exported networks take, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from ppeconv import backend
from ppeconv.deployment.runtimes import Runtime

Key = TypeVar("Key")


def median_ms(runtimes: Mapping[Key, Runtime], images: np.ndarray, repeats: int = 30) -> dict[Key, float]:
    """Median milliseconds of one call with these images [N, C, H, W].

    The networks take turns, so that a busy moment of the machine meets them all; the first calls are not counted.
    From then on the process keeps the memory that it frees, as it does while tools/predict.py runs.
    """
    backend.keep_freed_pages()
    times: dict[Key, list[float]] = {key: [] for key in runtimes}
    for _ in range(repeats + 3):
        for key, runtime in runtimes.items():
            begin = time.perf_counter()
            runtime(images)
            times[key].append(1000 * (time.perf_counter() - begin))
    return {key: float(np.median(values[3:])) for key, values in times.items()}
