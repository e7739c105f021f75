"""Write configs/README.md, the shipped configs by families of networks: python scripts/configs_index.py"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ppeconv import config as configs

PAGE = ROOT / "configs" / "README.md"
HEAD = """\
# Configs

<!-- Written by scripts/configs_index.py; do not edit. -->

`<network>_<operator>_<data>.yaml`: each a few lines on the parts in `_base_/`, and a start for your own.
Every key is in [docs/config.md](../docs/config.md) (Chinese).

```bash
python tools/train.py -c configs/resnet18_spconv_cifar10.yaml -o Global.epochs=1
```
"""
COLUMNS = "| config | network | operators | data | epochs | remarks |\n|---|---|---|---|---:|---|\n"
SIZE = re.compile(r"(?:V\d+(?:Large|Small)?|B\d+|\d+(?:C\d+L|Cifar)?|[SML])$")
"""What tells the networks of a family apart, at the end of their names."""


def page() -> str:
    """The page, with a row for every shipped config."""
    families = defaultdict(list)
    for name in configs.shipped():
        config = configs.load(name)
        families[SIZE.sub("", config.Arch.name)].append(row(name, config))
    tables = [f"\n## {family}\n\n{COLUMNS}" + "".join(rows) for family, rows in sorted(families.items())]
    return HEAD + "".join(tables)


def row(name: str, config: configs.Config) -> str:
    """One config: its file, what it trains on what, and the comment at its head."""
    network = [config.Arch.name, *(f"{key}: {value}" for key, value in config.Arch.arguments.items())]
    operators = [section.name for section in config.operators]
    if config.AnyWidth:
        operators.append(f"any width, {config.AnyWidth.kind}, {config.AnyWidth.sampling}")
    data = config.DataLoader.Train.dataset
    folder = data.arguments.get("image_root")
    cells = [
        f"[{name}]({name}.yaml)",
        ", ".join(network),
        " + ".join(operators),
        f"{data.name}, {folder}" if folder else data.name,
        str(config.Global.epochs),
        remarks(ROOT / "configs" / f"{name}.yaml"),
    ]
    return f"| {' | '.join(cells)} |\n"


def remarks(file: Path) -> str:
    """The comment at the head of a config."""
    lines = file.read_text("utf-8").splitlines()
    head = lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]
    return " ".join(line.lstrip("# ") for line in head).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
