"""The table of trained detectors, from their run folders: python scripts/detection_table.py output/detection [PAGE]

A row for each run that `detect eval` has evaluated; latencies are those of `detect export --measure`. With a page, such
as docs/detection.md, the table is put between its marks there.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppeconv.benchmark.table import as_markdown, between
from ppeconv.cli.detect import EVALUATION, LATENCY

HEAD = [
    "backbone",
    "AP",
    "AP50",
    "parameters",
    "MACs",
    "Paddle Inference, ms",
    "deployed",
    "ONNX Runtime, ms",
    "deployed",
]
TIMES = "paddle trained", "paddle deployed", "onnx trained", "onnx deployed"


def main() -> int:
    """Print the table of the folder that the command line names; returns the exit code."""
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    rows = [row(file.parent) for file in sorted(Path(sys.argv[1]).glob(f"*/{EVALUATION}"))]
    table = as_markdown(HEAD, rows)
    print(table, end="")
    for page in map(Path, sys.argv[2:]):
        page.write_text(between(page.read_text("utf-8"), "detection", table), "utf-8")
    return 0


def row(run: Path) -> list[str]:
    """The cells of a run."""
    found = json.loads((run / EVALUATION).read_text("utf-8"))
    file = run / LATENCY
    times = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return [
        run.name,
        *(f"{found[name]:.2%}" for name in ("AP", "AP50")),
        *(f"{found[name]:,}" for name in ("params", "macs")),
        *(f"{times[name]:.1f}" if name in times else "—" for name in TIMES),
    ]


if __name__ == "__main__":
    sys.exit(main())
