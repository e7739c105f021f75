"""What rounding to few bits does to the accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

_FALL = 1.0  # percentage points


def top1(runtime: Callable[[np.ndarray], Any], batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Share of images whose best class is their label; batches are (images [N, C, H, W], labels [N])."""
    hits = np.concatenate([runtime(images).argmax(1) == labels for images, labels in batches])
    return float(hits.mean())


def compared(runtime: str, before: float, after: float) -> tuple[str, bool]:
    """What a runtime that quantizes did to the top-1 accuracy, as a sentence, and whether it is much."""
    points = 100 * (after - before)
    text = f"{runtime}: top1 {before:.5f} before, {after:.5f} after, on the test images: {points:+.2f} points"
    if points > -_FALL:
        return text, False
    return f"{text}; if that is too much, keep float32 (--to onnx or --to onednn)", True
