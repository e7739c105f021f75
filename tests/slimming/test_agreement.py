"""Gains of parts that agree with what wholes gained."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppeconv.slimming.agreement import OWN, SHARED, agreeing

GAINS = st.lists(st.integers(1, 40).map(lambda number: number / 4), min_size=1, max_size=5).map(np.array)


@st.composite
def wholes(draw):
    gains = draw(GAINS)
    row = st.lists(st.integers(0, 3), min_size=len(gains), max_size=len(gains)).filter(any)
    counts = np.array(draw(st.lists(row, max_size=3))).reshape(-1, len(gains))
    together = draw(st.lists(st.integers(1, 80).map(float), min_size=len(counts), max_size=len(counts)))
    return gains, counts, np.array(together)


@given(wholes())
def test_it_is_the_mean_of_the_model_that_the_page_describes(found):
    """The same as least squares over what each part and all together are off by, each divided by its deviation."""
    gains, counts, together = found
    noise, rows = 0.5, np.eye(len(gains) + 1)
    effects = np.hstack([counts * (OWN * gains), SHARED * (counts @ gains)[:, None]])
    system = np.vstack([effects / noise, rows])
    wanted = np.concatenate([(together - counts @ gains) / noise, np.zeros(len(rows))])
    off = np.linalg.lstsq(system, wanted, rcond=None)[0]
    expected = gains * (1 + OWN * off[:-1] + SHARED * off[-1])
    np.testing.assert_allclose(agreeing(gains, counts, together, noise), expected, rtol=1e-6, atol=1e-9)


def test_a_whole_without_noise_is_met_and_others_follow_in_part():
    gains = np.array([2.0, 2.0, 1.0])
    found = agreeing(gains, np.array([[1, 1, 0]]), np.array([3.0]), 1e-6)
    assert found[0] + found[1] == pytest.approx(3.0)
    assert found[0] == found[1]
    assert 0.75 < found[2] < 1.0


def test_without_wholes_the_gains_stay():
    gains = np.array([2.0, -1.0])
    assert (agreeing(gains, np.zeros((0, 2)), np.zeros(0), 0.1) == gains).all()
