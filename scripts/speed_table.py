"""Write docs/speed.md from kept measurements: python scripts/speed_table.py

docs/speed/*.csv are tables that tools/benchmark.py --csv wrote, each of a plain network and of the same one with an
operator; scripts/measure_speed.sh makes them.
"""

import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ppeconv import config as configs
from ppeconv.benchmark.inference import InferenceSpeed
from ppeconv.benchmark.summary import Fastest, fastest
from ppeconv.benchmark.table import read_csv
from ppeconv.config import Config
from ppeconv.registry import OPERATORS

KEPT, PAGE = ROOT / "docs" / "speed", ROOT / "docs" / "speed.md"
EVEN = 0.05
"""A ratio so near to 1 is called neither a gain nor a loss."""
HEAD = """\
# 速度

<!-- 本页由 scripts/speed_table.py 根据 docs/speed/ 里的 CSV 生成，请不要手改。 -->

每个算子换进同一个网络，与普通卷积的网络在同一次运行里轮流计时，取中位数；float32，推理形式（见[部署](deploy.md)），
权重未经训练。重新测量全部：`bash scripts/measure_speed.sh`，要在空闲的机器上跑；只测一个：
`bash scripts/measure_speed.sh 配置名`。

- **时间比**：算子的时间除以普通网络在同一运行时的时间，小于 1 才是快；「最快」一栏是两者各用自己最快的运行时之比，
  括号里是各自的毫秒数与运行时，先算子、后普通网络。
- **MACs 比**：单张图像的乘加次数之比，不算归一化与逐元素运算。
- **÷ MACs 比**：最快的时间比除以 MACs 比。1 表示省下的计算全部变成了时间，越大丢得越多。
- CSV 里还有 p90、每秒图像数、进程的峰值内存、线程数和各版本。
"""


@dataclass
class Measured:
    """An operator in a network, at one batch size."""

    network: str
    batch_size: int
    operator: str
    rows: list[InferenceSpeed]
    """On each runtime."""
    best: Fastest | None
    """None where the operator or the plain network ran on no runtime."""
    plain: Fastest | None

    @property
    def time_ratio(self) -> float:
        """Fastest over fastest; infinite where it was not measured."""
        return self.best.time_ratio if self.best else float("inf")


def read(file: Path) -> tuple[list[Measured], str]:
    """The operators of a kept table, and what it was measured with."""
    rows, facts = read_csv(file, InferenceSpeed)
    overrides, plain = shlex.split(facts.pop("overrides")), rows[0].network
    best = {(line.network, line.batch_size): line for line in fastest(rows)}
    found = []
    for name, batch in dict.fromkeys((row.network, row.batch_size) for row in rows if row.network != plain):
        config = configs.load(name, overrides)
        own = [row for row in rows if (row.network, row.batch_size) == (name, batch)]
        pair = best.get((name, batch)), best.get((plain, batch))
        found.append(Measured(network_of(config), batch, operator_of(config), own, *pair))
    return found, "，".join(f"{key} {value}" for key, value in facts.items())


def network_of(config: Config) -> str:
    """The backbone with its arguments, and the image."""
    size = "x".join(map(str, config.Infer.image_shape))
    return f"{config.Arch.name}（{_listed({**config.Arch.arguments, '图像': size})}）"


def operator_of(config: Config) -> str:
    """Links to the operators with the arguments that are not defaults."""
    names = []
    for section in config.operators:
        given = _listed({**section.arguments, **(section.rules or {})})
        page = f"operators/{section.name.lower()}.md"
        name = f"[{section.name}]({page})" if OPERATORS.knows(section.name) else section.name
        names.append(name + (f" {given}" if given else ""))
    return " + ".join(names)


def _listed(arguments: dict[str, Any]) -> str:
    return "，".join(f"{key}: {value}" for key, value in arguments.items())


def page(folder: Path = KEPT) -> str:
    """The whole page."""
    tables = [read(file) for file in sorted(folder.glob("*.csv"))]
    measured = [entry for entries, _ in tables for entry in entries]
    lines = ["测量环境：", "", *(f"- {facts}" for facts in dict.fromkeys(facts for _, facts in tables))]
    for network, batch in sorted({(entry.network, entry.batch_size) for entry in measured}):
        here = [entry for entry in measured if (entry.network, entry.batch_size) == (network, batch)]
        lines += section(f"{network}，批大小 {batch}", sorted(here, key=lambda entry: entry.time_ratio))
    return "\n".join([HEAD, *lines]) + "\n"


def section(title: str, measured: list[Measured]) -> Iterator[str]:
    """A network at one batch size: the table, where operators win and lose, and what could not be measured."""
    runtimes = list(dict.fromkeys(row.runtime for entry in measured for row in entry.rows))
    yield from ("", f"## {title}", "")
    yield f"| 算子 | MACs 比 | {' | '.join(runtimes)} | 最快 | ÷ MACs 比 |"
    yield "|---|---:|" + "---:|" * len(runtimes) + "---|---:|"
    for entry in measured:
        ratios = {row.runtime: row.time_ratio for row in entry.rows}
        cells = [f"{entry.rows[0].mac_ratio:.2f}", *(_figure(ratios.get(runtime)) for runtime in runtimes)]
        if entry.best:
            cells.append(f"**{entry.time_ratio:.2f}**（{_place(entry.best)}，{_place(entry.plain)}）")
            cells.append(f"{entry.time_ratio / entry.best.mac_ratio:.2f}")
        else:
            cells += ["—", "—"]
        yield f"| {entry.operator} | {' | '.join(cells)} |"
    ran = [entry for entry in measured if entry.best]
    yield from ("", f"- **赢**：{_named(entry for entry in ran if entry.time_ratio < 1 - EVEN)}")
    yield f"- 相差不到 {EVEN:.0%}：{_named(entry for entry in ran if abs(entry.time_ratio - 1) <= EVEN)}"
    yield f"- **输**：{_named(entry for entry in ran if entry.time_ratio > 1 + EVEN)}"
    for entry in measured:
        yield from (f"- 没有测：{entry.operator}，{row.runtime}：{row.reason}" for row in entry.rows if row.reason)


def _named(entries: Iterable[Measured]) -> str:
    return "、".join(f"{entry.operator} {entry.time_ratio:.2f}" for entry in entries) or "无"


def _figure(ratio: float | None) -> str:
    return "—" if ratio is None else f"{ratio:.2f}"


def _place(line: Fastest) -> str:
    return f"{line.median_ms:.3g} {line.runtime}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
