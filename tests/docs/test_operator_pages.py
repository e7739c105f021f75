"""The Chinese pages of the operators say what the code does, and the kept scripts write them and their figures."""

import re
from pathlib import Path

import pytest
import yaml

from ppeconv.operators.table import share_of_plain
from ppeconv.registry import OPERATORS
from ppeconv.schema import check
from ppeconv.surgery.rules import Rules
from tests.support.scripts import script

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "operators"


def page(name):
    return (FOLDER / f"{name.lower()}.md").read_text("utf-8")


def assert_defaults(text, defaults):
    """The page's table of arguments gives each its default, as YAML or as a word for none."""
    for argument, default in defaults.items():
        row = re.search(rf"^\| `{argument}` \| `?(.+?)`? \|", text, re.M)
        assert row, f"{argument} is missing"
        shown = None if row[1] in ("不写", "—") else yaml.safe_load(row[1])
        assert (shown, isinstance(shown, bool)) == (default, isinstance(default, bool)), argument


@pytest.mark.parametrize("name", OPERATORS.names())
def test_page(name):
    text = page(name)
    for heading in ("思路", "公式", "参数量与计算量", "与论文的差别", "哪里合适", "配置"):
        assert f"## {heading}" in text
    assert f"]({name.lower()}.svg)" in text
    params, macs = share_of_plain(name)
    assert f"{params:.1%} 与 {macs:.1%}" in text
    assert_defaults(text, OPERATORS.get(name).Arguments().model_dump())


@pytest.mark.parametrize("name", OPERATORS.names())
def test_snippet_is_valid(name):
    operator = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page(name), re.S)[1])["Operator"]
    assert operator.pop("name") == name
    check(Rules, operator.pop("rules", {}), "rules")
    OPERATORS.check(name, operator)


def test_pages_say_what_is_declared():
    pages = script("scripts/operator_pages.py").documents()
    assert {FOLDER / f"{name.lower()}.md" for name in OPERATORS.names()} < set(pages)
    for file, text in pages.items():
        kept = file.read_text("utf-8") if file.is_file() else None
        assert kept == text, f"{file.name}: run python scripts/generate_docs.py"


def test_a_page_follows_its_declaration():
    pages = script("scripts/operator_pages.py")
    for now, before in (("2006.12085", "0000.00000"), ("37.0%", "38.0%"), ("| `0.5` |", "| `0.6` |")):
        assert now in page("SPConv")
        assert pages.current(page("SPConv").replace(now, before), "SPConv") == page("SPConv")


def test_what_has_no_page_gets_a_whole_one():
    pages = script("scripts/operator_pages.py")
    for name in ("SPConv", "Conv2D", "SE"):
        text = pages.current(pages.whole(name), name)
        assert pages.MARK in text
        assert len(re.findall("^## ", text, re.M)) >= 6
        assert not re.search("^论文：$", text, re.M)
    assert "w = softmax over (GAP(U3), GAP(U1))" in pages.whole("SPConv")
    assert "Conv 3×3\n" in pages.steps("SPConv").__next__()[0]


def test_figures_are_drawn_by_the_kept_script(tmp_path):
    draw = script("docs/operators/draw.py")
    draw.main(tmp_path)
    assert set(draw.FIGURES) <= {name.lower() for name in OPERATORS.names()}
    for name in draw.FIGURES:
        assert (tmp_path / f"{name}.svg").read_text("utf-8") == (FOLDER / f"{name}.svg").read_text("utf-8")


def test_readme_has_the_table_as_it_is_now():
    readme = (ROOT / "README_cn.md").read_text("utf-8")
    written = script("scripts/operators_table.py").with_table(readme)
    assert written == readme, "run python scripts/generate_docs.py"
    assert readme.count("](docs/operators/") >= len(OPERATORS.names())
