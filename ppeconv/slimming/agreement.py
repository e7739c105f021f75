"""What parts of a network gain, by what was measured of each alone and of several together."""

from __future__ import annotations

import numpy as np

SHARED, OWN = 0.3, 0.3
"""How far, relatively, the gains of parts may be from what was measured of each alone: all of them alike, and each."""


def agreeing(gains: np.ndarray, counts: np.ndarray, together: np.ndarray, noise: float) -> np.ndarray:
    """Gains that agree with what was gained together: their mean in a linear model with normal errors, given both.

    Args:
        gains: [P], measured of each part alone.
        counts: [W, P], how often each part is in each whole that was measured.
        together: [W], what each of these gained.
        noise: standard deviation of what a whole gains.

    Returns:
        [P]. Parts that are in no whole move by what all parts have in common.
    """
    spread = SHARED**2 * np.outer(gains, gains) + np.diag((OWN * gains) ** 2)
    certainty = np.linalg.inv(counts @ spread @ counts.T + noise**2 * np.eye(len(counts)))
    return gains + spread @ counts.T @ certainty @ (together - counts @ gains)
