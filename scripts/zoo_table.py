"""Write what the zoo's records say: python scripts/zoo_table.py

The tables and pictures of docs/results.md, and the picture and table on the first screen of README_cn.md and README.md,
from the records and, where it is there, docs/results/latency.csv. That is measured on a quiet machine by
python tools/compare.py zoo:main zoo:long zoo:wide zoo:more --csv docs/results/latency.csv
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ppeconv.benchmark.inference import InferenceSpeed
from ppeconv.benchmark.table import between, read_csv, write_csv
from ppeconv.choosing.comparison import FASTEST, Comparison, Cost, Row, kept_speeds
from ppeconv.choosing.contenders import Contender, contenders, plain_widths
from ppeconv.choosing.curves import draw_curves
from ppeconv.choosing.pareto import draw, in_percent
from ppeconv.choosing.plain_line import Standing, Verdict
from ppeconv.pretrained.record import Record
from ppeconv.pretrained.weights import FOLDER
from ppeconv.registry import OPERATORS
from ppeconv.zoo.rows import Job, read_jobs

KEPT = ROOT / "docs" / "results"
LATENCY = KEPT / "latency.csv"
TITLES = {
    "lenet": "LeNet，20 轮",
    "main": "ResNet20，12 轮",
    "long": "ResNet20，30 轮，bf16",
    "more": "ResNet20，其余算子，12 轮",
    "wide": "ResNet20，两倍通道，5 轮",
    "source003": "ResNet18，64x64，一个公开的 SPConv 复现的做法，10 轮，bf16",
    "side64": "ResNet18，64x64，其余各表的训练方法，10 轮，bf16",
}
CURVES = "source003", "side64"
"""Tables whose trainings are drawn epoch by epoch."""
FIRST = "main"
"""The table of the first screen."""
LINES = {"more": "main"}
"""Table without plain networks -> the one whose rows are trained alike; the line of its plain ones stands in both."""

OUTSIDE = "比不出（超出了线的两头）"
"""What those are that no plain network can be compared with."""


@dataclass(frozen=True)
class Words:
    """What the first screen says, in one language."""

    head: tuple[str, ...]
    time: str
    as_fast: str
    as_much_work: str
    picture: str
    spread: str
    standing: dict[Standing, str]
    beyond: dict[Standing, str]
    """In place of `standing` where there is no margin, as the plain networks cost less or more."""
    what: str
    seeds: str
    one_seed: str
    noise: str
    chance: str
    """Where no network has several seeds."""
    latency: str
    rest: str

    def of(self, verdict: Verdict | None) -> str:
        """A cell of a table."""
        if verdict is None:
            return "—"
        if verdict.margin is None:
            return self.beyond[verdict.standing]
        return f"{self.standing[verdict.standing]} {_margin(verdict)}"

    def top1(self, contender: Contender) -> str:
        """The mean, and of several seeds the range."""
        lowest, highest = contender.spread or (0.0, 0.0)
        spread = self.spread.format(100 * lowest, 100 * highest) if contender.spread else ""
        return f"{contender.top1:.2%}{spread}"


CHINESE = Words(
    head=("网络", "top-1", "参数量", "MACs"),
    time="时间比，批 {}",
    as_fast="与同样快的窄普通网络比，批 {}",
    as_much_work="与同样 MACs 的窄普通网络比",
    picture="精度与代价",
    spread="（{:.2f} 到 {:.2f}）",
    standing={"better": "**胜**", "level": "平", "worse": "负"},
    beyond={"better": "**胜**，更省且更准", "worse": "负，更费且不更准", "outside": "比不出"},
    what="ResNet20，{}，{} 轮，最后一轮的 top-1",
    seeds="；{} 行有几个种子（平均值，括号里是范围），{} 行只有一个",
    one_seed="；每行只有一个种子",
    noise="，同一网络的种子之间最多相差 {:.2f} 点，差别不超过它算平",
    chance="，小的差别可能是偶然",
    latency="。时间比：除以 {} 的时间，各用自己最快的运行时；{}",
    rest="。窄普通网络的精度在几个宽度之间插值，不外推。全部表格、每个运行时的结论：[结果](docs/results.md)。",
)
ENGLISH = Words(
    head=("network", "top-1", "parameters", "MACs"),
    time="time, batch {}",
    as_fast="against a narrower plain network as fast, batch {}",
    as_much_work="against a narrower plain network of equal MACs",
    picture="accuracy against cost",
    spread=" ({:.2f} to {:.2f})",
    standing={"better": "**better**", "level": "level", "worse": "worse"},
    beyond={
        "better": "**better**: cheaper, more accurate",
        "worse": "worse: dearer, no more accurate",
        "outside": "cannot be said",
    },
    what="ResNet20, {}, {} epochs, top-1 of the last one",
    seeds="; {} rows have several seeds (mean, range in brackets), {} have one",
    one_seed="; one seed each",
    noise="; seeds of one network differ by up to {:.2f} points, and what differs by no more is level",
    chance=", so that small differences may be chance",
    latency=". Time: divided by that of {}, each on its fastest runtime; {}",
    rest=". The accuracy of a narrower plain network is interpolated between several widths, never extrapolated. "
    "All tables, and every runtime: [results](docs/results.md) (in Chinese).",
)


def tables(records: Path = FOLDER) -> dict[str, Comparison]:
    """Of each of the zoo's tables that has records, those rows that have, with their latencies."""
    found: dict[str, Comparison] = {}
    speeds, _ = latencies()
    names: dict[str, dict[str, None]] = {}
    for job in read_jobs():
        if (records / job.folder / "record.json").is_file():
            names.setdefault(job.row.table, {})[job.row.name] = None
    for table, own in names.items():
        rows = [contender for name in own for contender in contenders([f"zoo:{name}"], records, KEPT)]
        if alike := found.get(LINES.get(table, "")):
            rows = [*plain_widths(alike.reference, alike.contenders), *rows]
        measured = {row.name for row in rows}
        found[table] = Comparison(rows, [speed for speed in speeds if speed.network in measured])
    return found


def latencies() -> tuple[list[InferenceSpeed], dict[str, str]]:
    """What was measured, and what it depends on; nothing where nothing was."""
    return kept_speeds(LATENCY) if LATENCY.is_file() else ([], {})


def refresh_latencies(compared: dict[str, Comparison]) -> None:
    """Give the kept latencies the accuracies that the records have now."""
    known = {(row.name, row.batch_size, row.runtime): row for it in compared.values() for row in it.rows()}
    rows, facts = read_csv(LATENCY, Row)
    write_csv([known.get((row.name, row.batch_size, row.runtime), row) for row in rows], LATENCY, facts)


def pages(compared: dict[str, Comparison]) -> dict[tuple[Path, str], str]:
    """What stands between which marks on which page."""
    results = ROOT / "docs" / "results.md"
    sections = ("\n".join(_section(table, comparison)) + "\n" for table, comparison in compared.items())
    return {
        (results, "zoo"): "\n".join(sections),
        (results, "spconv"): "\n".join(learnt("SPConv", compared)) + "\n",
        (ROOT / "README_cn.md", "zoo"): "\n".join(first_screen(compared[FIRST], CHINESE)) + "\n",
        (ROOT / "README.md", "zoo"): "\n".join(first_screen(compared[FIRST], ENGLISH)) + "\n",
    }


def learnt(operator: str, compared: dict[str, Comparison]) -> Iterator[str]:
    """What networks with an operator have learnt of the training images, beside the plain network trained alike."""
    yield _line(["网络", "轮数", "种子", "训练图片，第 1 轮", "训练图片，最后一轮", "测试图片，最后一轮", "比普通网络"])
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for comparison in compared.values():
        plain = comparison.reference
        own = [it for it in comparison.contenders if any(section.name == operator for section in it.config.operators)]
        if not own or len({it.data for it in comparison.contenders}) > 1:
            continue
        for contender in [plain, *own]:
            learning = [fmean(run.epochs[epoch]["train_top1"] or 0.0 for run in contender.runs) for epoch in (0, -1)]
            gap = "—" if contender is plain else f"{100 * ((contender.top1 or 0) - (plain.top1 or 0)):+.2f}"
            seeds, epochs = str(len(contender.runs)), str(contender.config.Global.epochs)
            trained = [f"{top1:.2%}" for top1 in learning]
            yield _line([_name(contender, ""), epochs, seeds, *trained, CHINESE.top1(contender), gap])


def pictures(table: str, comparison: Comparison) -> dict[str, list[Cost]]:
    """Files in docs/results and what is drawn in each; none of a table without a line of plain networks."""
    if not _has_line(comparison):
        return {}
    counts = [cost for cost in comparison.costs if not cost.batch_size]
    fastest = [cost for cost in _fastest(comparison) if len(comparison.points(cost)) > 1]
    return {**({f"{table}_latency.svg": fastest} if fastest else {}), f"{table}_counts.svg": counts}


def _has_line(comparison: Comparison) -> bool:
    return len(plain_widths(comparison.reference, comparison.contenders)) > 1


def first_screen(comparison: Comparison, words: Words) -> Iterator[str]:
    """The picture and the table that answer which operator to take."""
    fastest = _fastest(comparison)
    judged = fastest or [cost for cost in comparison.costs if cost.name == "MACs"]
    for file in list(pictures(FIRST, comparison))[:1]:
        yield f'<a href="docs/results.md"><img src="docs/results/{file}" alt="{words.picture}" width="860"></a>\n'
    yield _line(
        [*words.head, *(words.time.format(cost.batch_size) for cost in fastest)]
        + [words.as_fast.format(cost.batch_size) if cost in fastest else words.as_much_work for cost in judged]
    )
    yield "|---|---:|---:|---:|" + "---:|" * len(fastest) + "---|" * len(judged)
    for contender in sorted(comparison.contenders, key=lambda it: -(it.top1 or 0)):
        params, macs = contender.counts
        ratios = [_ratio(comparison.ratio(contender, cost)) for cost in fastest]
        verdicts = [words.of(comparison.verdict(contender, cost)) for cost in judged]
        yield _line([_name(contender, "docs/"), words.top1(contender), f"{params:,}", f"{macs:,}", *ratios, *verdicts])
    yield ""
    yield _said(comparison, words)


def _said(comparison: Comparison, words: Words) -> str:
    """What the figures of the first screen are."""
    first, noise = comparison.contenders[0], comparison.noise(comparison.reference)
    several = sum(len(contender.runs) > 1 for contender in comparison.contenders)
    text = words.what.format(first.data, first.config.Global.epochs)
    text += words.seeds.format(several, len(comparison.contenders) - several) if several else words.one_seed
    text += words.noise.format(100 * noise) if noise else words.chance
    if comparison.speeds:
        text += words.latency.format(comparison.reference.title, _machine())
    return text + words.rest


def _section(table: str, comparison: Comparison) -> Iterator[str]:
    """A table of the page of results, with its picture and what follows from it."""
    fastest = _fastest(comparison)
    yield f"### {TITLES.get(table, table)}\n"
    yield from (f"![精度与代价](results/{file})\n" for file in pictures(table, comparison))
    if table in CURVES:
        yield f"![每一轮的损失与精度](results/{table}_curves.svg)\n"
    judged = (
        [cost for cost in comparison.costs if cost.name == "MACs" or cost in fastest] if _has_line(comparison) else []
    )
    times = [f"时间比，批 {cost.batch_size}" for cost in fastest]
    yield _line(
        ["行", "网络", "配置与覆盖项", "数据", "参数量", "MACs", "种子", "top-1（最后一轮）", "训练", *times]
        + ["同样 MACs" if cost.name == "MACs" else f"同样快，批 {cost.batch_size}" for cost in judged]
    )
    yield "|---|---|---|---|---:|---:|---|---:|---:|" + "---:|" * len(times) + "---|" * len(judged)
    jobs = {job.row.name: job for job in read_jobs()}
    for contender in comparison.contenders:
        yield _line(_cells(contender, jobs[contender.name], comparison, fastest, judged))
    yield ""
    if judged:
        yield from _plainly(comparison)
        yield ""
    yield _made_by([run.record for contender in comparison.contenders for run in contender.runs if run.record])


def _cells(
    contender: Contender, job: Job, comparison: Comparison, fastest: list[Cost], judged: list[Cost]
) -> Iterator[str]:
    params, macs = contender.counts
    yield f"`{contender.name}`"
    yield _name(contender, "")
    yield "，".join(f"`{text}`" for text in (job.row.config, *job.row.overrides))
    yield str(contender.data)
    yield from (f"{params:,}", f"{macs:,}")
    yield "、".join(f"[{run.seed}](results/{contender.name}_seed{run.seed}.csv)" for run in contender.runs)
    yield CHINESE.top1(contender)
    yield f"{(contender.seconds or 0) / 3600:.1f} 小时"
    yield from (_ratio(comparison.ratio(contender, cost)) for cost in fastest)
    yield from (CHINESE.of(comparison.verdict(contender, cost)) for cost in judged)


def _plainly(comparison: Comparison) -> Iterator[str]:
    """Which networks are better than a narrower plain one at equal cost, and which are not."""
    line = plain_widths(comparison.reference, comparison.contenders)
    several = [f"{it.title} {len(it.runs)} 个（相差 {_gap(it)} 点）" for it in comparison.contenders if it.spread]
    noise = 100 * comparison.noise(comparison.reference)
    yield (
        f"- 种子：{'、'.join(several) or '每行只有一个，种子之间差多少不知道，小的差别可能是偶然'}"
        + ("；其余只有一个" if several and len(several) < len(comparison.contenders) else "")
        + (f"。差别不超过 {noise:.2f} 点的算平。" if noise else "。")
    )
    yield f"- 普通网络的线：{'、'.join(it.title for it in line)}；在它们之间按代价的对数插值，不外推。"
    for cost in comparison.costs:
        if not cost.batch_size:
            yield from _at_equal_counts(comparison, cost)
    if comparison.speeds:
        yield from _at_equal_latency(comparison)
    else:
        yield "- 延迟还没有量。"


def _at_equal_counts(comparison: Comparison, cost: Cost) -> Iterator[str]:
    """Who is better than a narrower plain network of as many parameters or MACs, by how much, and who is not."""
    groups: dict[Standing, list[str]] = {"better": [], "level": [], "worse": [], "outside": []}
    for contender in comparison.contenders:
        if verdict := comparison.verdict(contender, cost):
            groups[verdict.standing].append(f"{comparison.titles[contender.name]} {_margin(verdict)}".rstrip())
    if any(groups.values()):
        yield (
            f"- **{'同样多的参数' if cost.name == 'parameters' else '同样的 MACs'}**："
            f"胜过窄的普通网络：{_listed(groups['better'])}；"
            f"相当：{_listed(groups['level'])}；不如：{_listed(groups['worse'])}"
            + (f"；{OUTSIDE}：{_listed(groups['outside'])}" if groups["outside"] else "")
            + "。"
        )


def _at_equal_latency(comparison: Comparison) -> Iterator[str]:
    """On which runtimes and at which batch sizes each is better than a narrower plain network as fast."""
    places = [cost for cost in comparison.costs if cost.batch_size and cost.runtime != FASTEST]
    groups: dict[str, list[str]] = {"都胜过": [], "有的地方胜过": [], "都不胜过": [], OUTSIDE: []}
    rows = []
    for contender in comparison.contenders:
        verdicts = [comparison.verdict(contender, cost) for cost in places]
        if not any(verdicts):
            continue
        told = [(cost, it) for cost, it in zip(places, verdicts, strict=True) if it and it.standing != "outside"]
        better = [cost for cost, it in told if it.standing == "better"]
        title = comparison.titles[contender.name]
        if not told:
            groups[OUTSIDE].append(title)
        elif 0 < len(better) < len(told):
            groups["有的地方胜过"].append(f"{title}（{_places(better, places)}）")
        else:
            groups["都胜过" if better else "都不胜过"].append(title)
        rows.append(_line([_name(contender, ""), *map(_in_short, verdicts)]))
    yield (
        f"- **同样快**（{_places(places)}；{_machine()}），凡能与窄的普通网络比的地方："
        + "；".join(f"{group}：{_listed(titles)}" for group, titles in groups.items())
        + "。逐项："
    )
    yield ""
    yield _line(["与同样快的窄普通网络比", *(f"批 {cost.batch_size}，{cost.runtime}" for cost in places)])
    yield "|---|" + "---:|" * len(places)
    yield from rows
    yield ""
    yield (
        "表里的数字是 top-1 高出的百分点，粗体是胜。没有数字的：「胜」是窄的普通网络更费而不更准，"
        "「负」是更省而不更差，「比不出」是超出了线的两头。"
    )


def _places(costs: list[Cost], of: Sequence[Cost] = ()) -> str:
    """Batch sizes, and on which runtimes at each; "全部" where these are all of those given."""

    def runtimes(some: Sequence[Cost], batch: int | None) -> str:
        return "、".join(str(cost.runtime) for cost in some if cost.batch_size == batch)

    batches = dict.fromkeys(cost.batch_size for cost in costs)
    named = {batch: (runtimes(costs, batch), runtimes(of, batch)) for batch in batches}
    return "；".join(f"批 {batch}：{'全部' if own == every else own}" for batch, (own, every) in named.items())


def _in_short(verdict: Verdict | None) -> str:
    """A narrow cell: the margin alone, bold where it is better; a word where there is none."""
    if verdict is None:
        return "—"
    word, margin = {**CHINESE.beyond, **CHINESE.standing}[verdict.standing], _margin(verdict)
    if not margin:
        return word
    return {"better": f"**{margin}**", "level": f"{word} {margin}"}.get(verdict.standing, margin)


def _margin(verdict: Verdict) -> str:
    """In points; empty where there is none."""
    return "" if verdict.margin is None else f"{100 * verdict.margin:+.2f}"


def _fastest(comparison: Comparison) -> list[Cost]:
    return [cost for cost in comparison.costs if cost.runtime == FASTEST and cost.of]


def _machine() -> str:
    _, facts = latencies()
    return f"{facts['cpu']}, {facts['threads']} threads" if facts else ""


def _made_by(records: list[Record]) -> str:
    sources = sorted({record.source for record in records})
    cpus = sorted({entry["cpu"] for record in records for entry in record.computed_by})
    threads = sorted({entry["threads"] for record in records for entry in record.computed_by})
    where = f"{'、'.join(map(str, threads))} 个线程；CPU：{'、'.join(cpus)}"
    return f"代码：{'、'.join(sources)}；{where}。训练时间随机器的忙闲而变。"


def _name(contender: Contender, docs: str) -> str:
    """The title, linked to the pages of its operators."""

    def link(match: re.Match[str]) -> str:
        known = OPERATORS.knows(match[0])
        return f"[{match[0]}]({docs}operators/{match[0].lower()}.md)" if known else match[0]

    return re.sub(r"(?<!\S)\w+", link, contender.title)


def _gap(contender: Contender) -> str:
    lowest, highest = contender.spread or (0.0, 0.0)
    return f"{100 * (highest - lowest):.2f}"


def _ratio(ratio: float | None) -> str:
    return "—" if ratio is None else f"{ratio:.2f}"


def _listed(names: Iterable[str]) -> str:
    return "、".join(names) or "无"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Put tables and pictures in their place."""
    compared = tables()
    if LATENCY.is_file():
        refresh_latencies(compared)
        print(f"wrote {LATENCY.relative_to(ROOT)}")
    for (page, mark), text in pages(compared).items():
        page.write_text(between(page.read_text("utf-8"), mark, text), "utf-8")
        print(f"wrote {page.relative_to(ROOT)}")
    for table, comparison in compared.items():
        for name, costs in pictures(table, comparison).items():
            panels = {cost.name: in_percent(comparison.points(cost)) for cost in costs}
            draw(panels, "top-1 (%)", KEPT / name)
            print(f"wrote {(KEPT / name).relative_to(ROOT)}")
        if table in CURVES:
            draw_curves(comparison.contenders, comparison.titles, KEPT / f"{table}_curves.svg")
            print(f"wrote {(KEPT / f'{table}_curves.svg').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
