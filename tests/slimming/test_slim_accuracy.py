"""The tables of scripts/slim_accuracy.py, from made-up results."""

import pytest

from tests.support.scripts import script

slim_accuracy = script("scripts/slim_accuracy.py")
Trained = slim_accuracy.Trained
FOUND = [
    *(Trained("plain", size, 1, top1, ms) for size, top1, ms in (("1", 0.80, 10), ("1.5", 0.84, 20))),
    *(Trained("HetConv", size, 1, top1, ms) for size, top1, ms in (("1.5", 0.81, 12), ("2", 0.83, 16))),
    Trained("SPConv", "2", 1, 0.90, 14.1),
    Trained("plain", "1", 2, 0.10, 14),  # of another seed
]


@pytest.mark.parametrize(("latency", "expected"), [(10, 0.80), (15, 0.82), (20, 0.84), (9.9, None), (20.1, None)])
def test_a_curve_is_read_between_its_points_and_not_beyond(latency, expected):
    made = Trained("slim", "0.5", 1, 0.85, latency)
    assert slim_accuracy.reached(FOUND, "plain", made) == (expected and pytest.approx(expected))


def test_slim_stands_beside_the_plain_network_and_the_best_operator_as_fast():
    made = [Trained("slim", "0.5", 1, 0.85, 14), Trained("slim", "0.35", 1, 0.7, 5)]
    lines = list(slim_accuracy.tables([*FOUND, *made]))
    assert lines[2] == "| 0.5 | 1 | 14 | 85.00% | 81.60% | +3.40 | HetConv 82.00% | +3.00 |"
    assert lines[3] == "| 0.35 | 1 | 5 | 70.00% | — | — | — | — |"
    assert len(lines) == 7 + len(FOUND) + len(made)


def test_every_network_has_a_folder_of_its_own(tmp_path):
    options = slim_accuracy.parser().parse_args(["table", "--runs", str(tmp_path)])
    widths = sum(len(widths) for _, widths in slim_accuracy.CURVES.values())
    folders = [folder for *_, folder in slim_accuracy.runs(options)]
    assert len(set(folders)) == len(folders) == 2 * (len(slim_accuracy.BUDGETS) + widths)
