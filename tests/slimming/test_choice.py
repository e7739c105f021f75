"""The integer program against trying everything, and the arithmetic of predictions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppeconv.errors import UserError
from ppeconv.slimming.choice import Item, choose, cost_of, fastest, time_of
from ppeconv.slimming.measurements import Judged, Measurements, Spot
from tests.support.measurements import FACTS

PLAIN_MS = 10.0
ITEMS = st.builds(
    Item,
    st.integers(-2, 8).map(lambda number: number / 4),
    st.integers(-1, 6).map(lambda number: number / 8),
    st.integers(-3, 9),
)


def allowed(taken, inside):
    return not any(
        taken[block] is not None and taken[at] is not None for block, inner in inside.items() for at in inner
    )


def all_choices(positions, inside):
    for taken in itertools.product(*[[None, *range(len(items))] for items in positions]):
        if allowed(taken, inside):
            yield taken


def macs(positions, taken):
    return sum(items[at].macs for items, at in zip(positions, taken, strict=True) if at is not None)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(ITEMS, max_size=3), min_size=1, max_size=4),
    st.sampled_from([{}, {0: [1]}, {0: [1, 2]}, {0: [3], 1: [2]}]),
    st.integers(20, 44).map(lambda number: number / 4),
)
def test_the_choice_is_the_best_of_all(positions, inside, budget_ms):
    inside = {
        block: [at for at in inner if at < len(positions)] for block, inner in inside.items() if block < len(positions)
    }
    every = list(all_choices(positions, inside))
    within = [taken for taken in every if time_of(positions, taken, PLAIN_MS) <= budget_ms]
    least = min(time_of(positions, taken, PLAIN_MS) for taken in every)
    assert time_of(positions, fastest(positions, inside), PLAIN_MS) == pytest.approx(least)
    if not within:
        with pytest.raises(UserError, match="the fastest possible takes"):
            choose(positions, inside, PLAIN_MS, budget_ms)
        return
    taken = choose(positions, inside, PLAIN_MS, budget_ms)
    assert allowed(taken, inside)
    assert time_of(positions, taken, PLAIN_MS) <= budget_ms + 1e-6
    best = min(cost_of(positions, other) for other in within)
    assert cost_of(positions, taken) == pytest.approx(best, abs=1e-6)
    if budget_ms < PLAIN_MS:
        equal = [other for other in within if cost_of(positions, other) <= best + 1e-9]
        assert macs(positions, taken) == max(macs(positions, other) for other in equal)


MEASURED = [
    [Item(0.02255, 0.06133, 1949696)],
    [Item(0.00257, 0.03907, 786432)],
    [Item(0.03468, 0.03171, 2654208), Item(0.01227, 0.02652, 1769472), Item(0.0004, 0.02098, 884736)],
    [Item(0.05542, 0.03569, 3538944)],
    [Item(0.05542, 0.02664, 3538944)],
    [Item(0.0167, 0.01149, 884736)],
    [Item(0.04553, 0.03424, 1030144)],
    [Item(0.08007, 1.16681, 4718592), Item(0.03315, 0.02805, 2359296)],
]
"""Of ResNet20; for a budget of 0.75609 of 0.91095 ms the solver found the second program infeasible."""


def test_every_budget_has_a_choice():
    inside, plain_ms = {5: [6]}, 0.91095
    every = list(all_choices(MEASURED, inside))
    times = np.array([time_of(MEASURED, taken, plain_ms) for taken in every])
    costs = np.array([cost_of(MEASURED, taken) for taken in every])
    for budget_ms in [0.75609, times.min(), *np.unique(times)[1::40], *np.linspace(times.min(), plain_ms, 40)]:
        taken = choose(MEASURED, inside, plain_ms, float(budget_ms))
        assert time_of(MEASURED, taken, plain_ms) <= budget_ms + 1e-6
        assert cost_of(MEASURED, taken) <= costs[times <= budget_ms + 1e-12].min() + 1e-6


def test_a_budget_above_the_own_time_changes_nothing():
    assert choose([[Item(1.0, -5.0)]], {}, PLAIN_MS, 10.0) == (None,)


def measurements():
    judged = [Judged("GhostConv", "ratio: 2", 2.0, 0.25, 0.1, 100), Judged("SPConv", "", 3.0, 0.5, 0.2, 50)]
    block = [Judged("NoBranch", "", 5.0, 1.5, 0.6, 400)]
    spots = [
        Spot("a", "block", ["a.x", "a.y"], block),
        Spot("a.x", "conv", [], judged),
        Spot("a.y", "conv", [], judged),
    ]
    return Measurements(FACTS, 10.0, 1000, 0.125, 0.75, spots, {"conv": {"SPConv": 0.4}})


def test_predictions_add_up():
    found = measurements()
    chosen = found.choose(6.0)
    assert {path: str(it.option) for path, it in chosen.options.items()} == {
        "a.x": "GhostConv (ratio: 2)",
        "a.y": "GhostConv (ratio: 2)",
    }
    assert (chosen.predicted_ms, chosen.predicted_loss, chosen.macs) == (6.0, 0.125 + 0.5, 800)
    assert list(found.choose(4.5).options) == ["a.x", "a.y"]
    assert found.fastest_ms == 4.0
    with pytest.raises(UserError, match=r"no choice takes 3 ms .* the fastest possible takes 4 ms, 40% of the 10 ms"):
        found.choose(3.0)


def test_measurements_that_are_worth_little_say_why():
    assert measurements().doubts == []

    def doubts(gain_ms, *rises):
        judged = [Judged("SPConv", f"ratio: 0.{number}", gain_ms, rise, 0.2, 50) for number, rise in enumerate(rises)]
        return Measurements(FACTS, 10.0, 1000, 0.125, 0.75, [Spot("a", "conv", [], judged)], {}).doubts

    assert doubts(1.0, -0.1, 0.1) == doubts(1.0) == []
    assert ["too busy" in it for it in doubts(11.0, 0.1)] == [True]
    assert ["hardly trained" in it for it in doubts(1.0, -0.1, -0.1, 0.1)] == [True]


def test_measurements_are_read_as_they_were_written(tmp_path):
    measurements().write(tmp_path / "m.json")
    assert Measurements.read(tmp_path / "m.json") == measurements()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 2}', '{"format": 1, "spots": [3]}'])
def test_other_files_are_no_measurements(text, tmp_path):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(UserError, match="holds no measurements of slim"):
        Measurements.read(tmp_path / "m.json")
    with pytest.raises(UserError, match="cannot read the measurements"):
        Measurements.read(tmp_path / "other.json")
