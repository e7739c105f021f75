"""Write what follows from the code in docs/operators, recalibration and branches: python scripts/operator_pages.py

In a page written by hand that is the line of papers, that of counts and the table of own arguments. A page that nobody
wrote is made whole, of what the class declares and its docstring says, and so is the figure of an operator for which
docs/operators/draw.py has no drawing.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import make_config_reference as reference
import paddle
from paddle import nn

from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.table import COMPARED, share_of_plain
from ppeconv.registry import BRANCHES, OPERATORS, PLACED, placed
from ppeconv.schema import wording
from ppeconv.schema.declaration import Paper

MARK = "<!-- 本页由 scripts/generate_docs.py 根据代码写出，请不要手改；想自己写，就先删去这一行。 -->"
LIMITS = {
    "dense": "普通（不分组）的卷积",
    "dense or depthwise": "普通卷积或深度卷积",
    "odd kernel": "奇数核",
    "kernel above 1x1": "大于 1×1 的核",
    "fixed padding": "不随输入大小而变的填充",
}
"""`ppeconv.operators.base.LIMITS` in Chinese."""


def documents() -> dict[Path, str]:
    """Every page, and every figure that is not drawn by hand, as it is now."""
    texts = {}
    for registry in PLACED:
        for name in registry.names():
            page = folder(name) / f"{name.lower()}.md"
            kept = page.read_text("utf-8") if page.is_file() else MARK
            texts[page] = current(whole(name) if MARK in kept else kept, name)
    for name in undrawn():
        texts[folder(name) / f"{name.lower()}.svg"] = figure(name)
    return texts


def folder(name: str) -> Path:
    """Where the page of an operator, block, head or change of branches stands."""
    own = {OPERATORS: "operators", BRANCHES: "branches"}
    return ROOT / "docs" / own.get(placed(name), "recalibration")


def current(text: str, name: str) -> str:
    """A page with its papers, counts and own arguments as the code has them."""
    entry = placed(name).get(name)
    if entry.papers:
        text = re.sub(r"^论文：.*$", lambda _: f"论文：{'；'.join(map(cited, entry.papers))}", text, flags=re.M)
    text = re.sub(r"^(?=3×3、64→64 |64 通道、).*个参数，.*$", lambda _: counts(name), text, flags=re.M)
    section = re.compile(r"(^## 自有参数\n\n)(?:\|.*\n)+", re.M)
    return section.sub(lambda match: match[1] + arguments(entry), text)


def cited(paper: Paper) -> str:
    """A paper with a link, where it is at arXiv."""
    number = paper.arxiv and f"[{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})"
    return ", ".join(filter(None, [paper.title, paper.venue, number]))


def counts(name: str) -> str:
    """Parameters and MACs at one size."""
    if placed(name) is not OPERATORS:
        cost = placed(name).get(name).formula(64, 32, 32)
        return f"64 通道、32×32 的特征图、默认参数：{cost.params:,} 个参数，{cost.macs:,} MACs。"
    cost, (params, macs) = OPERATORS.get(name).formula(COMPARED, 32, 32), share_of_plain(name)
    return (
        f"3×3、64→64 通道、32×32 输入、默认参数、无偏置：{cost.params:,} 个参数，{cost.macs:,} MACs，"
        f"为普通卷积的 {params:.1%} 与 {macs:.1%}。"
    )


def arguments(entry: Any) -> str:
    """The table of own arguments."""
    rows = [
        [f"`{key}`", reference.default_text(field), reference.type_name(wording.declared(field)), meaning(field)]
        for key, field in entry.Arguments.model_fields.items()
    ]
    return reference.table(["参数", "默认", "类型", "含义"], rows)


def meaning(field: Any) -> str:
    """What an argument means."""
    return reference.translated(reference.meaning(field))


def whole(name: str) -> str:
    """A page of its own for what has none."""
    entry = placed(name).get(name)
    summary, told = paragraphs(entry)
    file = Path(inspect.getfile(entry)).relative_to(ROOT)
    source = f"见[源代码](../../{file.as_posix()})。"
    operator = placed(name) is OPERATORS
    parts = [
        f"# {name}\n\n{summary}\n\n{MARK}\n",
        "论文：\n" if entry.papers else "",
        f"## 思路\n\n{told['idea'] or summary}\n",
        f"![{name}]({name.lower()}.svg)\n" if operator else "",
        f"## 公式\n\n{told['formula'] or source}\n",
        f"## 参数量与计算量\n\n{told['counts'] or source}\n\n{counts(name)}\n",
        f"## 自有参数\n\n{arguments(entry)}" if entry.Arguments.model_fields else "",
        f"## {'与论文的差别' if operator else '放在哪里'}\n\n{told['departures'] if operator else PLACES}\n",
        f"## 哪里合适，哪里不合适\n\n{suited(entry) if operator else told['departures']}\n",
        f"## 配置\n\n```yaml\n{snippet(name)}```\n",
    ]
    return "\n".join(part for part in parts if part)


PLACES = "由网络声明，或由 `rules` 指定，见[配置项](../config.md)里的 `Operator.rules`。"


def paragraphs(entry: Any) -> tuple[str, Mapping[str, str]]:
    """The first line of a docstring, and what the others are about."""
    summary, _, rest = inspect.getdoc(entry).partition("\n")
    found: dict[str, list[str]] = {"idea": [], "formula": [], "counts": [], "departures": []}
    for paragraph in re.split(r"\n{2,}(?! )|(?<=\n)\n(?= {4})", rest.strip("\n")):
        text = paragraph.strip("\n")
        if text.startswith("    "):
            found["formula"].append(f"```text\n{inspect.cleandoc(text)}\n```")
        elif re.search(r"\bparameters\b.*:", text, re.I):
            found["counts"].append(text)
        elif re.match(r"Departure|Sources differ", text):
            found["departures"].append(text)
        elif text:
            found["idea"].append(text)
    found["departures"] = found["departures"] or ["类文档没有提到。"]
    return summary, {about: "\n\n".join(texts) for about, texts in found.items()}


def suited(entry: Any) -> str:
    """What an operator asks of a convolution."""
    asks = "、".join(LIMITS.get(limit, limit) for limit in entry.limits) or "任何卷积"
    rules = ", ".join(f"{key}: {reference.yaml_text(value)}" for key, value in entry.default_rules.items())
    return f"- 能代替的卷积：{asks}。\n- 默认的规则：{f'`{{{rules}}}`' if rules else '与其他算子相同'}。"


def snippet(name: str) -> str:
    """A config that uses it, its arguments written out."""
    own = {key: value for key, value in placed(name).get(name).Arguments().model_dump().items() if value is not None}
    return (
        "_base_: [_base_/datasets/cifar10.yaml, _base_/schedules/cifar_200e.yaml, _base_/runtime.yaml]\n"
        f"Arch: {{name: ResNet20}}\nOperator: {reference.yaml_text({'name': name, **own})}\n"
    )


def drawings() -> Any:
    """docs/operators/draw.py."""
    spec = importlib.util.spec_from_file_location("draw", ROOT / "docs" / "operators" / "draw.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def undrawn() -> list[str]:
    """Operators that have no drawing."""
    return [name for name in OPERATORS.names() if name.lower() not in drawings().FIGURES]


def figure(name: str) -> str:
    """The sub-layers of an operator, in the order in which they run."""
    drawn = drawings().Figure()
    boxes = [("X", "data"), *((text, kind) for text, kind in steps(name)), ("Y", "data")]
    places = [drawn.box(0, row, text, kind) for row, (text, kind) in enumerate(boxes)]
    for above, below in pairwise(places):
        drawn.vertical(above, below)
    drawn.note(1, 0, "子层，按运行的顺序；拼接、切分等不是层的运算不在图里")
    return drawn.svg()


def steps(name: str) -> Iterator[tuple[str, str]]:
    """(label, kind) of each sub-layer that runs."""
    layer, geometry = example(name)
    ran: list[nn.Layer] = []
    for part in layer.sublayers():
        if not part.sublayers():
            part.register_forward_pre_hook(lambda part, _: ran.append(part))
    layer.eval()
    with paddle.no_grad():
        layer(paddle.zeros([1, geometry.in_channels, 8, 8]))
    for part in ran:
        yield labelled(part) if isinstance(part, nn.Conv2D) else (type(part).__name__, "plain")


def example(name: str) -> tuple[nn.Layer, ConvGeometry]:
    """An operator in place of the first usual convolution that it takes."""
    for kernel, groups in ((3, 1), (3, 64), (1, 1), (5, 1)):
        geometry = ConvGeometry.of(64, 64, kernel, 1, kernel // 2, groups=groups, bias_attr=False)
        try:
            return OPERATORS.get(name).of_geometry(geometry), geometry
        except Unsupported:
            continue
    raise Unsupported(f"{name} takes none of the usual convolutions; draw its figure in docs/operators/draw.py")


def labelled(conv: nn.Conv2D) -> tuple[str, str]:
    """The kernel and channels of a convolution."""
    geometry = ConvGeometry.of_layer(conv)
    rows, columns = geometry.kernel_size
    groups = f" / {geometry.groups}" if geometry.groups > 1 else ""
    kind = "cheap" if groups else "point" if (rows, columns) == (1, 1) else "conv"
    return f"Conv {rows}×{columns}\n{geometry.in_channels} → {geometry.out_channels}{groups}", kind


if __name__ == "__main__":
    for file, text in documents().items():
        if not file.is_file() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")
            print(f"wrote {file.relative_to(ROOT)}")
