"""Write the tables of the zoo's records into docs/results.md: python scripts/zoo_table.py"""

import sys
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ppeconv.zoo.record import Record
from ppeconv.zoo.rows import Job, read_jobs

PAGE, BEGIN, END = ROOT / "docs" / "results.md", "<!-- zoo:begin -->\n", "<!-- zoo:end -->\n"
TITLES = {
    "lenet": "LeNet，20 轮",
    "main": "ResNet20，12 轮",
    "long": "ResNet20，30 轮",
    "more": "ResNet20，其余算子，12 轮",
    "wide": "ResNet20，两倍通道，5 轮",
}


def tables() -> str:
    """A table for each of the zoo's that has records, a row for each row of it that has."""
    jobs = [job for job in read_jobs() if (folder(job) / "record.json").is_file()]
    names = list(dict.fromkeys(job.row.table for job in jobs))
    return "\n".join(_table(name, [job for job in jobs if job.row.table == name]) for name in names)


def folder(job: Job) -> Path:
    """Where a run's record lies."""
    return ROOT / "ppeconv" / "zoo" / job.folder


def _table(name: str, jobs: list[Job]) -> str:
    lines = [
        f"### {TITLES[name]}\n",
        "| 行 | 配置与覆盖项 | 数据 | 参数量 | MACs | 种子 | top-1（最后一轮） |",
        "|---|---|---|---:|---:|---|---:|",
    ]
    for row in dict.fromkeys(job.row.name for job in jobs):
        own = [job for job in jobs if job.row.name == row]
        lines.append(_row(own[0], [Record.read(folder(job)) for job in own]))
    records = [Record.read(folder(job)) for job in jobs]
    sources = sorted({record.source for record in records})
    cpus = sorted({entry["cpu"] for record in records for entry in record.computed_by})
    threads = sorted({entry["threads"] for record in records for entry in record.computed_by})
    return "\n".join(lines) + (
        f"\n\n代码：{'、'.join(sources)}；{'、'.join(map(str, threads))} 个线程；CPU：{'、'.join(cpus)}。\n"
    )


def _row(job: Job, records: list[Record]) -> str:
    settings = "，".join(f"`{text}`" for text in (job.row.config, *job.row.overrides))
    links = "、".join(f"[{record.seed}](results/{record.row}_seed{record.seed}.csv)" for record in records)
    scores = [100 * record.last_top1 for record in records]
    spread = f"（{min(scores):.2f} 到 {max(scores):.2f}）" if len(scores) > 1 else ""
    first = records[0]
    return (
        f"| `{first.row}` | {settings} | {first.data} | {first.params:,} | {first.macs:,} | {links} | "
        f"{mean(scores):.2f}%{spread} |"
    )


def main() -> None:
    """Put the tables in their place on the page."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + tables() + END + after, "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
