"""Write docs/speed.md from kept measurements: python scripts/speed_table.py

docs/speed/*.csv are what tools/advise.py --csv wrote, each of a network at a batch size; scripts/measure_speed.sh makes
them. Each gets a picture beside it. docs/speed/runtimes/*.csv are what tools/benchmark.py --csv wrote, one for each
kind of CPU; scripts/measure_runtimes.sh makes them.
"""

import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ppeconv.benchmark.inference import InferenceSpeed
from ppeconv.benchmark.table import as_markdown, in_line, read_csv
from ppeconv.choosing.accuracies import accuracies
from ppeconv.choosing.advice import Option, choose, fastest, plain_latency
from ppeconv.choosing.candidates import PLAIN, Host
from ppeconv.choosing.picture import draw
from ppeconv.pretrained.weights import FOLDER
from ppeconv.registry import OPERATORS

KEPT, PAGE = ROOT / "docs" / "speed", ROOT / "docs" / "speed.md"
EVEN = 0.05
"""A ratio so near to 1 is called neither a gain nor a loss."""
BUDGETS = 0.25, 0.5, 0.75
"""Shares of the plain network's time for which the page says what to take."""
HEAD = """\
# 速度

<!-- 本页由 scripts/speed_table.py 根据 docs/speed/ 里的 CSV 生成，请不要手改。 -->

每个算子换进同一个网络，与普通卷积的网络、更窄的普通网络轮流计时，取中位数；float32，推理形式（见[部署](deploy.md)），权重未经训练。
每张表是[`tools/advise.py`](advise.md) 量的，怎样量、怎样选见那一页。重新测量全部：`bash scripts/measure_speed.sh`，
要在空闲的机器上跑；只测一个网络：`bash scripts/measure_speed.sh ResNet20`。各运行时之间的比较在页末，由
`bash scripts/measure_runtimes.sh` 重新测量。

- **时间比**：网络的时间除以普通网络在同一运行时的时间，小于 1 才是快；「最快」一栏是两者各用自己最快的运行时之比，
  括号里是毫秒数与运行时。
- **MACs 比**：单张图像的乘加次数之比，不算归一化与逐元素运算。
- **÷ MACs 比**：最快的时间比除以 MACs 比。1 表示省下的计算全部变成了时间，越大丢得越多。
- **top-1**：同一个网络的[训练结果](zoo.md)；空白是没有训练过。
- CSV 里还有参数量、p90、进程的峰值内存、何时测量、线程数和各版本。
"""
OWN = "onednn"
"""The runtime that the others are compared with."""
_OF_THE_NETWORK = "network", "batch_size", "config", "overrides"
"""What a table says of its network; the rest is of the machine."""


def page(folder: Path = KEPT, records: Path = FOLDER) -> str:
    """The whole page, from a folder of tables and one of the zoo's records."""
    tables = [(file.stem, *_read(file, records)) for file in folder.glob("*.csv")]
    tables.sort(key=lambda table: (table[2]["network"], int(table[2]["batch_size"])))
    machines = dict.fromkeys(in_line(facts, _OF_THE_NETWORK) for _, _, facts in tables)
    lines = ["测量环境：", "", *(f"- {machine}" for machine in machines)]
    for name, options, facts in tables:
        lines += section(name, options, facts)
    for file in sorted((folder / "runtimes").glob("*.csv")):
        lines += runtimes(*read_csv(file, InferenceSpeed))
    return "\n".join([HEAD, *lines]) + "\n"


def _read(file: Path, records: Path) -> tuple[list[Option], dict[str, str]]:
    """A table, with the accuracies that the zoo has now, and its facts."""
    options, facts = read_csv(file, Option)
    host = Host(facts["config"], tuple(shlex.split(facts["overrides"])))
    known = accuracies(host, list(dict.fromkeys(option.candidate for option in options)), records)
    return [option.trained(known.get(option.candidate)) for option in options], facts


def section(name: str, options: list[Option], facts: dict[str, str]) -> Iterator[str]:
    """A network at one batch size: picture, table, where operators win and lose, what to take for several times.

    Args:
        name: of the CSV, without its suffix.
        options: what it holds,
        facts: and in common.
    """
    best = fastest(options)
    runtimes = list(dict.fromkeys(option.runtime for option in options))
    yield from (
        "",
        f"## {facts['network']}，批大小 {facts['batch_size']}",
        "",
        f"![每个网络的延迟](speed/{name}.svg)",
        "",
    )
    yield f"| 算子 | MACs 比 | {' | '.join(runtimes)} | 最快 | ÷ MACs 比 | top-1 |"
    yield "|---|---:|" + "---:|" * len(runtimes) + "---|---:|---:|"
    yield from (row(option, options, runtimes) for option in best)
    for data, epochs in dict.fromkeys((option.data, option.epochs) for option in best if option.top1):
        yield from ("", f"top-1：{data}，{epochs} 轮。")
    changed = [option for option in best if option.candidate != PLAIN]
    yield from ("", f"- **赢**：{_named(option for option in changed if option.ratio < 1 - EVEN)}")
    yield f"- 相差不到 {EVEN:.0%}：{_named(option for option in changed if abs(option.ratio - 1) <= EVEN)}"
    yield f"- **输**：{_named(option for option in changed if option.ratio > 1 + EVEN)}"
    for option in options:
        if option.reason:
            yield f"- 没有测：{_name(option)}，{option.runtime}：{option.reason}"
    yield from ("", "各种预算下该选什么：", "", "```text", "\n\n".join(advice(options, facts)), "```")


def runtimes(speeds: list[InferenceSpeed], facts: dict[str, str]) -> Iterator[str]:
    """The runtime onednn beside the others on one kind of CPU, where both run a network."""
    names = [OWN, *dict.fromkeys(speed.runtime for speed in speeds if speed.runtime != OWN)]
    times: dict[tuple[str, int], dict[str, float]] = {}
    for speed in speeds:
        if speed.median_ms:
            times.setdefault((Path(speed.network).stem, speed.batch_size), {})[speed.runtime] = speed.median_ms
    lines, ahead = [], 0
    for (network, batch), found in times.items():
        best = min((ms for name, ms in found.items() if name != OWN), default=None)
        ratio = best / found[OWN] if best and OWN in found else None
        ahead += ratio is not None and ratio >= 1
        fastest = min(found.values())
        cells = [f"{ms:.3g}" if (ms := found.get(name)) else "—" for name in names]
        cells = [f"**{cell}**" if found.get(name) == fastest else cell for name, cell in zip(names, cells, strict=True)]
        lines.append([f"`{network}`", str(batch), *cells, f"{ratio:.2f}" if ratio else "—"])
    yield from ("", f"## 运行时之间，{facts['cpu']}", "", in_line(facts), "")
    yield f"毫秒。最后一栏是其余运行时里最快的时间除以 {OWN} 的，大于 1 就是 {OWN} 快：{len(lines)} 格里有 {ahead} 格。"
    yield from ("", as_markdown(["网络", "批大小", *names, f"最快的其余 ÷ {OWN}"], lines).rstrip())


def row(option: Option, options: list[Option], runtimes: list[str]) -> str:
    """A network on each runtime beside the plain one on the same, and on its fastest."""
    times = {(other.candidate, other.runtime): other.latency_ms for other in options}
    cells = [f"{option.mac_ratio:.2f}"]
    for runtime in runtimes:
        own, plain = times.get((option.candidate, runtime)), times.get((PLAIN, runtime))
        cells.append(f"{own / plain:.2f}" if own and plain else "—")
    cells += [
        f"**{option.ratio:.2f}**（{option.latency_ms:.3g} {option.runtime}）",
        f"{option.ratio / option.mac_ratio:.2f}",
    ]
    cells.append(f"{option.top1:.2%}" if option.top1 else "")
    return f"| {_name(option)} | {' | '.join(cells)} |"


def advice(options: list[Option], facts: dict[str, str]) -> Iterator[str]:
    """What tools/advise.py says for each of BUDGETS."""
    host = Host(facts["config"], tuple(shlex.split(facts["overrides"])))
    changed = f" -o {facts['overrides']}" if facts["overrides"] else ""
    for budget in BUDGETS:
        choice = choose(options, budget * plain_latency(options))
        asked = f"-c {host.config}{changed} --batch-size {facts['batch_size']} --budget {budget}"
        yield f"python tools/advise.py {asked}\n{choice.sentence}\n{host.training(choice.taken.candidate)}"


def _named(options: Iterable[Option]) -> str:
    return "、".join(f"{_name(option)} {option.ratio:.2f}" for option in options) or "无"


def _name(option: Option) -> str:
    """The operator, linked to its page, with its arguments."""
    page = f"operators/{option.operator.lower()}.md"
    name = f"[{option.operator}]({page})" if OPERATORS.knows(option.operator) else "普通网络"
    return f"{name} {option.arguments}".strip()


def pictures(folder: Path = KEPT) -> None:
    """Draw each table."""
    for file in sorted(folder.glob("*.csv")):
        draw(read_csv(file, Option)[0], file.with_suffix(".svg"))


if __name__ == "__main__":
    pictures()
    PAGE.write_text(page(), "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
