"""Write everything in docs/ and the READMEs that follows from code and records: python scripts/generate_docs.py

Figures and pages of operators, recalibration blocks and heads, the tables of them, docs/config.md, configs/README.md,
the tables and pictures of the zoo's results. What is written by hand stays. Pages of measurements have scripts of
their own.
"""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    "docs/operators/draw.py",
    "scripts/operator_pages.py",
    "scripts/operators_table.py",
    "scripts/make_config_reference.py",
    "scripts/configs_index.py",
    "scripts/zoo_table.py",
)

if __name__ == "__main__":
    for part in PARTS:
        runpy.run_path(str(ROOT / part), run_name="__main__")
