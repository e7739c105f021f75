"""Write the tables of training steps in docs/cpu_training.md: python scripts/training_table.py

docs/speed/training/*.csv are what tools/benchmark.py --train --no-stock --csv wrote, each of a network with every
operator; scripts/measure_training.sh makes them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ppeconv.benchmark.table import as_markdown, between, in_line, read_csv
from ppeconv.benchmark.training import TrainingSpeed

KEPT, PAGE = ROOT / "docs" / "speed" / "training", ROOT / "docs" / "cpu_training.md"
COLUMNS = "配置", "MACs 比", "时间比", "÷ MACs 比", "毫秒 / 步", "图像 / 秒"


def tables(folder: Path = KEPT) -> Iterator[str]:
    """A paragraph and a table for each file: the operators by their time, beside the plain network."""
    for file in sorted(folder.glob("*.csv")):
        rows, facts = read_csv(file, TrainingSpeed)
        yield f"批大小 {rows[0].batch_size}；{in_line(facts)}：\n\n"
        lines = [_line(row) for row in sorted(rows, key=lambda row: row.time_ratio)]
        yield as_markdown(COLUMNS, lines) + "\n"


def _line(row: TrainingSpeed) -> list[str]:
    ratios = row.mac_ratio, row.time_ratio, row.time_ratio / row.mac_ratio
    speeds = f"{row.onednn_ms:.0f}", f"{row.onednn_images_per_second:,.0f}"
    return [f"`{row.config}`", *(f"{ratio:.2f}" for ratio in ratios), *speeds]


if __name__ == "__main__":
    PAGE.write_text(between(PAGE.read_text("utf-8"), "training", "".join(tables())), "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
