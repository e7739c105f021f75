"""Write docs/config.md from the config schema and the registries: python scripts/make_config_reference.py

Descriptions are the docstrings of the code. scripts/config_reference_zh.yaml holds their translations, keyed by the
English text or, where a key has no docstring, by the key; a text without a translation is shown as it is.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import yaml
from pydantic import BaseModel

from ppeconv.config import Config, sections
from ppeconv.registry import (
    BACKBONES,
    BRANCHES,
    DATASETS,
    HEADS,
    LOSSES,
    MIXTURES,
    OPERATORS,
    OPTIMIZERS,
    RECALIBRATIONS,
    SCHEDULES,
    TRANSFORMS,
    Registry,
)
from ppeconv.schema import wording
from ppeconv.surgery.rules import Blocks, Places, Rules

PAGE = ROOT / "docs" / "config.md"
TRANSLATIONS: dict[str, str] = yaml.safe_load((ROOT / "scripts" / "config_reference_zh.yaml").read_text("utf-8"))

SECTIONS = (
    ("Global", "整个运行", sections.GlobalSection),
    ("Arch", "主干网络", sections.ArchSection),
    ("Operator", "卷积算子", sections.OperatorSection),
    ("Operator.rules", "替换哪些卷积", Rules),
    ("Operator.rules", "重标定块放在哪里", Places),
    ("Operator.rules", "改哪些残差块", Blocks),
    ("AnyWidth", "任意宽度", sections.AnyWidthSection),
    ("Loss", "损失", sections.LossSection),
    ("Optimizer", "优化器", sections.OptimizerSection),
    ("DataLoader", "数据", sections.DataSection),
    ("DataLoader.*", "数据，`*` 是 Train 或 Eval", sections.SplitSection),
    ("DataLoader.*.dataset", "数据集", sections.SetSection),
    ("DataLoader.*.sampler", "批次", sections.SamplerSection),
    ("DataLoader.*.loader", "读取进程", sections.LoaderSection),
    ("Metric", "指标", sections.MetricSection),
    ("AMP", "混合精度", sections.AMPSection),
    ("Infer", "预测", sections.InferSection),
)
REGISTRIES = (
    ("主干网络", "`Arch.name`", BACKBONES),
    ("卷积算子", "`Operator.name`", OPERATORS),
    ("重标定块", "`Operator.name`", RECALIBRATIONS),
    ("代替全局池化的头", "`Operator.name`", HEADS),
    ("残差支路的改动", "`Operator.name`", BRANCHES),
    ("数据集", "`DataLoader.*.dataset.name`", DATASETS),
    ("图像变换", "`DataLoader.*.dataset.transform_ops` 的列表项，按顺序执行，最后一项是 `Normalize`", TRANSFORMS),
    ("图像混合", "`DataLoader.Train.dataset.batch_transform_ops` 的列表项，每批随机取一种", MIXTURES),
    ("损失", "`Loss.Train`、`Loss.Eval` 的列表项，按 `weight` 相加", LOSSES),
    ("优化器", "`Optimizer.name`", OPTIMIZERS),
    ("学习率", "`Optimizer.lr.name`；轮数在内部换算成步，每一步更新一次学习率", SCHEDULES),
)
HEAD = """\
# 配置项

<!-- 本页由 scripts/make_config_reference.py 根据代码生成，请不要手改；改了配置项后重新运行它。 -->

一份配置由若干个分区组成，分区名沿用 PaddleClas：

```yaml
_base_: [_base_/datasets/cifar10.yaml, _base_/schedules/cifar_200e.yaml, _base_/runtime.yaml]
Arch: {name: ResNet18, stem: cifar}
Operator: {name: SPConv, ratio: 0.5}
```

- **继承**：`_base_` 是一个或一串文件，路径相对于本文件；那里没有时，按路径或名字在随附的配置里找，所以放在任何目录里的
  配置都可以写 `_base_: [lenet_spconv_digits]`。后面的盖过前面的，本文件盖过所有 `_base_`。映射逐键合并，列表整体替换；
  `name` 换成别的名字时，整个映射换掉。
- **命令行覆盖**：`-o Global.epochs=1 -o Optimizer.lr.learning_rate=3e-4`。等号右边按 YAML 解析，从不当作代码执行；
  列表项用序号：`-o DataLoader.Train.dataset.transform_ops.0.RandomCrop.padding=2`。用
  `-o Operator.name=GhostConv` 换名字时，原来那个名字的参数一并丢弃，
  `-o` 给的参数（写在前后都行）和分区自己的键（如 `Optimizer.lr`、`Operator.rules`）留下。
- **严格**：写错的键、写错的值、类型不符、同一个键写了两遍、互相矛盾的值，都会以一句话报错，退出码 2，不开始训练。
- **路径**：开头的 `~` 是用户目录，配置里和命令行选项里都一样。
- **数字**：`3e-4` 是数字（普通的 YAML 会把它读成字符串）；数字都是十进制，`0x10`、`010`、`1:30` 是字符串。
  下面「类型」一栏写着每个数允许的范围，范围以外的值、NaN 和无穷大都会被拒绝；错误信息里写的是同一个范围。
- **运行目录**里的 `config.yaml` 是补全以后的配置，`python tools/eval.py --run 目录` 读的就是它。

下面「默认值」是代码里的默认值；`configs/_base_/` 里的文件会在它之上再设一层。「必填」表示没有默认值。
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## 分区\n", table(["键", "类型", "默认值", "含义"], fields(Config, ""))]
    for name, title, section in SECTIONS:
        parts += [f"### {name}：{title}\n", table(["键", "类型", "默认值", "含义"], fields(section, name))]
    parts.append("## 可以按名字选用的东西\n")
    parts.append("表里没有参数的条目写作 `Name: {}`；`python tools/list.py` 列出主干、算子和随附的配置。\n")
    for title, place, registry in REGISTRIES:
        parts += [f"### {title}\n", f"用在 {place}。\n", *entries(registry)]
        if registry is BACKBONES:
            parts.append(
                "另外，`paddle.vision.<名字>` 和 `paddleclas.<名字>`（如 `paddleclas.ResNeXt50_32x4d`，需要安装 "
                "paddleclas）也可以作为 `Arch.name`，其余参数原样传给那个网络。\n"
            )
    return "\n".join(parts)


def fields(section: type[BaseModel], where: str) -> Iterator[list[str]]:
    """A row for each key of a section."""
    for key, field in section.model_fields.items():
        full = f"{where}.{key}" if where else key
        text = translated(meaning(field) or full)
        yield [f"`{key}`", type_name(wording.declared(field)), default_text(field), text]


def entries(registry: Registry) -> Iterator[str]:
    """The names of a registry with what they are, then a table of the arguments of each."""
    rows, arguments = [], []
    for name, summary in registry.summaries().items():
        entry = registry.get(name)
        rows.append(described(name, summary))
        documented = argument_docs(entry)
        for key, field in registry.schema(name).model_fields.items():
            text = meaning(field) or documented.get(key)
            text = translated(text) if text else by_key(name, key)
            arguments.append([f"`{name}`", f"`{key}`", type_name(wording.declared(field)), default_text(field), text])
    yield table(["名字", "说明"], rows)
    if arguments:
        yield table(["名字", "参数", "类型", "默认值", "含义"], together(arguments))


def described(name: str, summary: str) -> list[str]:
    """An entry; where it has a page of its own, with a link to it and the summary there."""
    pages = [PAGE.parent / folder / f"{name.lower()}.md" for folder in ("operators", "recalibration", "branches")]
    for page in filter(Path.is_file, pages):
        return [f"[`{name}`]({page.parent.name}/{page.name})", page.read_text("utf-8").splitlines()[2]]
    return [f"`{name}`", translated(summary)]


def together(arguments: list[list[str]]) -> Iterator[list[str]]:
    """Rows that differ in the name alone as one row."""
    merged: dict[tuple[str, ...], list[str]] = {}
    for name, *rest in arguments:
        merged.setdefault(tuple(rest), []).append(name)
    for rest, names in merged.items():
        yield ["、".join(names), *rest]


def table(head: list[str], rows: Iterator[list[str]] | list[list[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def meaning(field: Any) -> str:
    """The text below a declaration."""
    return " ".join((field.description or "").split())


def argument_docs(entry: Any) -> dict[str, str]:
    """Argument -> its line under `Args:`, looking through the classes that the entry extends."""
    owners = entry.__mro__ if inspect.isclass(entry) else [entry]
    documented: dict[str, str] = {}
    for owner in reversed(owners):
        blocks = re.split(r"^Args:\n", inspect.cleandoc(owner.__doc__ or ""), flags=re.M)[1:]
        for block in blocks:
            indented = re.match(r"(?:[ ]{4}.*\n?|\n)*", block)[0]
            for names, text in re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", indented, flags=re.M):
                documented |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return documented


def translated(text: str) -> str:
    """The Chinese text, or the text itself."""
    return TRANSLATIONS.get(text, text)


def by_key(name: str, key: str) -> str:
    """What an argument without a docstring of its own means: for this entry, or wherever it has that name."""
    return TRANSLATIONS.get(f"{name}.{key}") or TRANSLATIONS.get(key, "")


def type_name(annotation: Any) -> str:
    """A declared type as a config's author sees it."""
    plain, constraints = wording.unwrapped(annotation)
    bounds = [f"{sign} {wording.number(bound)}" for sign, bound in wording.limits(constraints)]
    rules = [text for words in wording.rules(constraints) if (text := translated(words))]
    return "，".join([noun(plain, constraints), *bounds, *rules])


def noun(plain: Any, constraints: list[Any]) -> str:
    """A type without its bounds; a list with its length and what its items are."""
    options = wording.alternatives(plain)
    if len(options) > 1:
        names = [type_name(part) for part in options if part is not type(None)]
        return " 或 ".join(dict.fromkeys(name for name in names if name))
    if typing.get_origin(plain) is typing.Literal:
        return " / ".join(f"`{value}`" for value in typing.get_args(plain))
    if (item := wording.items(plain)) is not None:
        return list_name(type_name(item), *wording.lengths(constraints))
    if plain is Any:
        return "任意"
    if inspect.isclass(plain) and issubclass(plain, sections.Named):
        return "`{name: ..., 参数}`"
    if inspect.isclass(plain) and issubclass(plain, BaseModel):
        keys = ", ".join(plain.model_fields)
        return f"`{{{keys}}}`" if len(plain.model_fields) < 4 else "映射"
    plain_names = {str: "字符串", int: "整数", float: "小数", bool: "`true` / `false`", list: "列表", dict: "映射"}
    return plain_names.get(typing.get_origin(plain) or plain, "")  # others, such as a network, are not for configs


def list_name(item: str, least: int, most: int | None) -> str:
    """A list of so many."""
    size = f"{least} 个" if least == most else "非空" if least == 1 else f"至少 {least} 个" if least else ""
    return f"{item}列表" if not size and "，" not in item else f"列表（{size}{'，' if size else ''}每个是{item}）"


def default_text(field: Any) -> str:
    """A default as YAML writes it."""
    if field.is_required():
        return "必填"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "—"
    if isinstance(value, BaseModel):
        return "见下"
    return f"`{yaml_text(value)}`"


def yaml_text(value: Any) -> str:
    """A plain value on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(yaml_text, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {yaml_text(inner)}" for key, inner in value.items()) + "}"
    return str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
