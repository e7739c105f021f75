"""The Chinese pages of the operators say what the code does, and their figures are those of the kept script."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from ppeconv.operators.table import share_of_plain
from ppeconv.registry import OPERATORS
from ppeconv.schema import check
from ppeconv.surgery.replace import Rules

ROOT = Path(__file__).parent.parent
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


def test_figures_are_drawn_by_the_kept_script(tmp_path):
    spec = importlib.util.spec_from_file_location("draw", FOLDER / "draw.py")
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    draw.main(tmp_path)
    assert set(draw.FIGURES) == {name.lower() for name in OPERATORS.names()}
    for name in draw.FIGURES:
        assert (tmp_path / f"{name}.svg").read_text("utf-8") == (FOLDER / f"{name}.svg").read_text("utf-8")


def test_readme_has_the_table_as_it_is_now():
    spec = importlib.util.spec_from_file_location("operators_table", ROOT / "scripts" / "operators_table.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    readme = (ROOT / "README_cn.md").read_text("utf-8")
    assert script.with_table(readme) == readme, "run scripts/operators_table.py"
    assert readme.count("](docs/operators/") >= len(OPERATORS.names())
