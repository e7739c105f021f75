"""Write the table of operators into README_cn.md: python scripts/operators_table.py"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ppeconv.optable import operators_table
from ppeconv.registry import OPERATORS

BEGIN, END = "<!-- operators:begin -->\n", "<!-- operators:end -->"


def with_table(readme: str) -> str:
    """The README's text with the table as it is now between the marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    pages = {name: ROOT / "docs" / "operators" / f"{name.lower()}.md" for name in OPERATORS.names()}
    summaries = {name: page.read_text("utf-8").splitlines()[2] for name, page in pages.items()}
    return before + BEGIN + operators_table(summaries) + END + after


if __name__ == "__main__":
    page = ROOT / "README_cn.md"
    page.write_text(with_table(page.read_text("utf-8")), "utf-8")
    print(f"wrote {page.name}")
