"""Write docs/anywidth_results.md from evaluated runs: python scripts/anywidth_table.py [RUN ...]

The width.csv of each run is kept in docs/anywidth/<run>.csv, what was trained in <run>.yaml beside it; the page is
made of all that lie there.
"""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import yaml

from ppeconv.deployment.sweep import WidthRow, area, read_csv
from ppeconv.engine import checkpoint
from ppeconv.engine.run import Run
from ppeconv.experiment import Experiment
from ppeconv.schema.values import to_yaml

KEPT, PAGE = ROOT / "docs" / "anywidth", ROOT / "docs" / "anywidth_results.md"
NAMES = {"awn": "AWN", "awn_rs": "AWN+RS", "snet": "S-Net", "usnet": "US-Net"}
HEAD = """\
# 任意宽度的结果

<!-- 本页由 scripts/anywidth_table.py 根据 docs/anywidth/ 里各次运行的 width.csv 生成，请不要手改。 -->

做法见[任意宽度的网络](anywidth.md)。「有效」不含被掩掉的权重；1 次乘加 = 1 MAC，单张图像；MACs 一栏在两者不同时写作
有效 / 实际运行。延迟是导出网络在飞桨推理（oneDNN）里的中位数，与别的任务共用机器时测得，只宜在同一次运行之内比较。
面积是精度-宽度曲线在 [0.25, 1] 上的面积除以区间长度。粗体是训练过的宽度（随机采样的运行只标两端）。
日程是论文的 20 轮，学习率在 50% 和 75% 处除以 10；轮数更少的是缩短的运行。
重跑全部：`bash scripts/reproduce_anywidth.sh`；缩短的写法见该文件开头。
"""


def keep(folder: Path) -> None:
    """Copy what the page needs of a run."""
    run = Run(folder)
    config, states = Experiment.open(run.path).config, checkpoint.read(run.latest.with_name("latest.pdstates"))
    facts = {
        "network": config.Arch.name,
        "data": config.DataLoader.Train.dataset.name,
        "kind": config.AnyWidth.kind,
        "trained": [1.0, config.AnyWidth.min_width]
        if config.AnyWidth.sampling != "k-width"
        else config.AnyWidth.widths,
        "epochs": states["progress"]["epoch"],
        "seed": config.Global.seed,
        "threads": states["arithmetic"]["threads"],
        "learning_rate": config.Optimizer.lr.arguments,
        "cpu_backend": config.Global.cpu_backend or "paddle",
    }
    KEPT.mkdir(exist_ok=True)
    shutil.copy(run.path / "width.csv", KEPT / f"{run.path.name}.csv")
    (KEPT / f"{run.path.name}.yaml").write_text(to_yaml(facts), "utf-8")


def page() -> str:
    """The whole page."""
    runs = {
        file.stem: (read_csv(file), yaml.safe_load(file.with_suffix(".yaml").read_text("utf-8")))
        for file in sorted(KEPT.glob("*.csv"))
    }
    summary = ["| 配置 | 轮数 | 种子 | 线程 | 学习率 | 宽度 1 的 top-1 | 面积 |", "|---|---:|---:|---:|---|---:|---:|"]
    for name, (rows, facts) in runs.items():
        rate = " ".join(f"{key}: {value}" for key, value in facts["learning_rate"].items())
        summary.append(
            f"| `{name}` | {facts['epochs']} | {facts['seed']} | {facts['threads']} | {rate} | {rows[-1].top1:.2%} | "
            f"{area(rows):.2%} |"
        )
    summary += side_by_side(runs)
    return "\n".join([HEAD, *summary, *(line for name, run in runs.items() for line in section(name, *run))]) + "\n"


def side_by_side(runs: dict[str, tuple[list[WidthRow], dict]]) -> list[str]:
    """For each network and data set, the accuracies of its runs at the widths that they share."""
    lines = []
    for subject in dict.fromkeys((facts["network"], facts["data"]) for _, facts in runs.values()):
        curves = {
            label(name): {row.width: row.top1 for row in rows}
            for name, (rows, facts) in runs.items()
            if (facts["network"], facts["data"]) == subject
        }
        lines += ["", f"| {'，'.join(subject)} | " + " | ".join(curves) + " |", "|---:|" + "---:|" * len(curves)]
        for width in sorted(set.intersection(*map(set, curves.values()))):
            shares = " | ".join(f"{curve[width]:.2%}" for curve in curves.values())
            lines.append(f"| {width:.4g} | {shares} |")
    return lines


def label(name: str) -> str:
    """What a run is called in the tables."""
    return NAMES[name.split("_", 1)[1].rpartition("_")[0]]


def section(name: str, rows: list[WidthRow], facts: dict) -> list[str]:
    """The table of one run."""
    lines = [f"\n## {label(name)}，{facts['network']}，{facts['data']}\n"]
    lines += [
        f"`{name}`，{facts['epochs']} 轮；延迟 {rows[0].threads} 线程、批大小 {rows[0].batch}。\n",
        "| 宽度 | top-1 | 有效参数 | MACs | 延迟 (ms) |",
        "|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        width = f"**{row.width:.4g}**" if row.width in facts["trained"] else f"{row.width:.4g}"
        macs = f"{row.active_macs:,}" + (f" / {row.macs:,}" if row.macs != row.active_macs else "")
        lines.append(f"| {width} | {row.top1:.2%} | {row.active_params:,} | {macs} | {row.latency_ms:.3f} |")
    return lines


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        keep(Path(argument))
    PAGE.write_text(page(), "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
