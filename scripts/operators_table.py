"""Print the table of operators for README_cn.md: python scripts/operators_table.py"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ppeconv.optable import operators_table
from ppeconv.registry import OPERATORS

pages = {name: ROOT / "docs" / "operators" / f"{name.lower()}.md" for name in OPERATORS.names()}
print(operators_table({name: page.read_text("utf-8").splitlines()[2] for name, page in pages.items()}), end="")
