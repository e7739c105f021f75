"""Print the table of operators for README_cn.md: python scripts/operators_table.py"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppeconv.optable import operators_table

print(operators_table(), end="")
