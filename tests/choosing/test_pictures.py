"""Accuracy against cost: the plain line, what it says of a network, the Pareto front and its picture."""

import pytest

from ppeconv.choosing.pareto import Point, draw, front
from ppeconv.choosing.plain_line import Verdict, at_equal_cost, judge

PLAIN = [Point("w1", 40, 0.80, is_plain=True), Point("w0.25", 10, 0.70, is_plain=True)]


def test_the_plain_line_is_linear_in_the_logarithm_of_the_cost():
    assert at_equal_cost(PLAIN, 20) == pytest.approx(0.75)
    assert at_equal_cost(PLAIN, 10) == pytest.approx(0.70)
    assert at_equal_cost(PLAIN, 40) == pytest.approx(0.80)


def test_plain_networks_that_a_better_one_is_cheaper_than_do_not_lower_the_line():
    assert at_equal_cost([*PLAIN, Point("w0.375", 20, 0.6, is_plain=True)], 20) == pytest.approx(0.75)


@pytest.mark.parametrize("cost", [9.99, 40.01])
def test_nothing_is_extrapolated(cost):
    assert at_equal_cost(PLAIN, cost) is None
    assert at_equal_cost([], cost) is None


@pytest.mark.parametrize(
    ("cost", "score", "standing", "margin"),
    [
        (20, 0.77, "better", 0.02),
        (20, 0.73, "worse", -0.02),
        (20, 0.755, "level", 0.005),
        (50, 0.79, "worse", None),  # the widest plain network costs less and scores more
        (5, 0.72, "better", None),  # the narrowest costs more and scores less
        (5, 0.65, "outside", None),
        (50, 0.85, "outside", None),
    ],
)
def test_a_network_is_judged_by_the_plain_line(cost, score, standing, margin):
    verdict = judge(Point("op", cost, score), PLAIN, noise=0.01)
    assert verdict.standing == standing
    assert verdict.margin == (margin if margin is None else pytest.approx(margin))


def test_without_plain_networks_nothing_is_said():
    assert judge(Point("op", 20, 0.9), []) == Verdict("outside", None)


def test_the_front_is_of_those_that_none_beats():
    one, dear, good, equal = Point("a", 1, 0.5), Point("b", 3, 0.5), Point("c", 2, 0.6), Point("d", 2, 0.6)
    assert [point.name for point in front([dear, good, one])] == ["a", "c"]
    assert front([equal, good]) == [equal]


def test_a_picture_has_every_name_and_is_the_same_again(tmp_path):
    points = [*PLAIN, Point("GhostConv", 20, 0.76, (0.75, 0.77)), Point("HetConv", 20, 0.759)]
    for name in ("one.svg", "two.svg"):
        draw({"MACs": points, "latency (ms)": points[:3]}, "top-1", tmp_path / name)
    text = (tmp_path / "one.svg").read_text("utf-8")
    for name in ("w1", "w0.25", "GhostConv", "HetConv", "MACs", "latency (ms)"):
        assert f"<!-- {name} -->" in text
    assert text == (tmp_path / "two.svg").read_text("utf-8")


def test_names_cover_neither_each_other_nor_the_marks():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from ppeconv.choosing.pareto import figure_of

    points = [*PLAIN, *(Point(f"a network of number {i}", 20 + i / 10, 0.76 + i / 1000) for i in range(8))]
    figure = figure_of({"MACs": points}, "top-1")
    renderer = FigureCanvasAgg(figure).get_renderer()
    (axes,) = figure.axes
    boxes = [super(type(text), text).get_window_extent(renderer) for text in axes.texts]
    assert len(boxes) == len(points)
    for number, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[number + 1 :])
        assert not any(box.contains(*axes.transData.transform((point.cost, point.score))) for point in points)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][:2] == ["plain, at several widths", "others"]
    assert not legend.get_window_extent(renderer).overlaps(axes.bbox)
