"""The picture of an evaluation's mistakes, with class names that not every font can write."""

import csv

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from ppeconv.engine import confusion
from ppeconv.engine.confusion import draw_confusion, write_per_class
from ppeconv.engine.evaluator import Evaluation
from ppeconv.engine.fonts import font_for

CHINESE = ["猫", "狗"]
RESULT = Evaluation(0.5, {1: 0.75}, np.array([[3, 1], [0, 4]]))


@pytest.fixture
def drawn(monkeypatch):
    """Figures as they are saved."""
    figures, save = [], Figure.savefig

    def keep(figure, *rest, **more):
        figures.append(figure)
        save(figure, *rest, **more)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def only_fonts(monkeypatch, *files):
    """Nothing installed but matplotlib's own font and these."""
    own = font_manager.findfont(font_manager.FontProperties())
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [font for font in manager.ttflist if font.fname == own])
    for file in files:
        manager.addfont(str(file))


def font_with(characters, file):
    """A font file in which every one of the characters is a square; matplotlib measures lines by "lp"."""
    builder = pytest.importorskip("fontTools.fontBuilder").FontBuilder(1000, isTTF=True)
    pen = pytest.importorskip("fontTools.pens.ttGlyphPen").TTGlyphPen(None)
    pen.moveTo((0, 0))
    for place in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(place)
    pen.closePath()
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(character): "square" for character in characters})
    builder.setupGlyf(dict.fromkeys([".notdef", "square"], pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", "square"], (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares Sans", "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(file)
    return file


def labels(figure):
    return [tick.get_text() for tick in figure.axes[0].get_yticklabels()]


def test_names_are_written_in_an_installed_font_that_has_them(drawn, tmp_path, monkeypatch, recwarn):
    file = font_with("猫狗lp", tmp_path / "squares.ttf")
    only_fonts(monkeypatch, font_with("猫lp", tmp_path / "half.ttf"), file)
    assert font_for(CHINESE).get_file() == str(file)
    assert draw_confusion(RESULT, CHINESE, tmp_path / "confusion.png") == ""
    assert labels(drawn[0]) == CHINESE
    assert {tick.get_fontproperties().get_file() for tick in drawn[0].axes[0].get_xticklabels()} == {str(file)}
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_classes_are_numbered_where_no_font_has_their_names(drawn, tmp_path, monkeypatch, recwarn):
    only_fonts(monkeypatch)
    note = draw_confusion(RESULT, CHINESE, tmp_path / "confusion.png")
    assert "confusion.png numbers the classes from 0" in note
    assert labels(drawn[0]) == ["0", "1"]
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    write_per_class(RESULT, CHINESE, tmp_path / "per_class.csv")
    with open(tmp_path / "per_class.csv", encoding="utf-8") as file:
        assert [row["class"] for row in csv.DictReader(file)] == CHINESE


def test_latin_names_keep_the_usual_font(drawn, tmp_path):
    assert font_for(["ant", "bée", "γάτα"]).get_file() is None
    assert draw_confusion(RESULT, ["ant", "bée"], tmp_path / "confusion.png") == ""
    assert labels(drawn[0]) == ["ant", "bée"]
    many = [f"猫{index}" for index in range(confusion._LABELLED + 1)]
    result = Evaluation(0.5, {1: 1.0}, np.eye(len(many), dtype=int))
    assert draw_confusion(result, many, tmp_path / "many.png") == ""
