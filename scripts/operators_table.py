"""Write the tables of operators, recalibration blocks and heads into README_cn.md: python scripts/operators_table.py"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ppeconv.benchmark.table import between
from ppeconv.operators.table import blocks_table, operators_table
from ppeconv.registry import HEADS, OPERATORS, RECALIBRATIONS


def with_table(readme: str) -> str:
    """The README's text with the tables as they are now between the marks."""
    readme = between(readme, "operators", operators_table(_summaries("operators", OPERATORS.names())))
    blocks = [*RECALIBRATIONS.names(), *HEADS.names()]
    return between(readme, "recalibration", blocks_table(_summaries("recalibration", blocks)))


def _summaries(folder: str, names: list[str]) -> dict[str, str]:
    """The third line of each page, which says what the thing does."""
    pages = {name: ROOT / "docs" / folder / f"{name.lower()}.md" for name in names}
    return {name: page.read_text("utf-8").splitlines()[2] for name, page in pages.items()}


if __name__ == "__main__":
    page = ROOT / "README_cn.md"
    page.write_text(with_table(page.read_text("utf-8")), "utf-8")
    print(f"wrote {page.name}")
