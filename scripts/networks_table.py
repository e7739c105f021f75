"""Build, count, train, export and serve every network, and write docs/networks.md.

    python scripts/networks_table.py            # goes on where it was stopped; results are kept in output/networks.json
    python scripts/networks_table.py --again    # from the beginning

A network is counted at its own image size with 1000 classes. It is trained, exported and served with 10 classes and
small images, so that all of them take minutes.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))

import numpy as np
import paddle
import yaml

import ppeconv
from ppeconv import config as configs
from ppeconv.backbones.initial import RULES
from ppeconv.deployment.export import export
from ppeconv.deployment.predictor import Predictor
from ppeconv.experiment.parts import Parts
from ppeconv.layers.parameters import NORMS
from ppeconv.registry import BACKBONES

ROWS = ROOT / "scripts" / "networks.yaml"
PAGE = ROOT / "docs" / "networks.md"
RULE_TEXTS = ROOT / "scripts" / "init_rules_zh.yaml"
RESULTS = ROOT / "output" / "networks.json"
CLASSES, SIDE = 10, 64
STEPS = "built", "counted", "trained", "exported", "served"


def rows() -> list[dict[str, Any]]:
    """The networks, each with the config that it is built from."""
    found, config = [], None
    for row in yaml.safe_load(ROWS.read_text("utf-8")):
        config = row.setdefault("config", config)
        found.append(row)
    return found


def config_of(row: dict[str, Any], class_num: int | None, side: int | None = None) -> configs.Config:
    """The config of a row, for so many classes; images of its own size, or of `side` pixels."""
    config = configs.load(row["config"])
    shape = [3, side, side] if side else _shape(config)
    facts = {"Arch.class_num": class_num, "Infer.image_shape": shape}
    if BACKBONES.accepts(config.Arch.name, "image_size"):
        facts["Arch.image_size"] = shape[1]
    facts |= {f"Arch.{key}": value for key, value in row.get("arch", {}).items() if key != "class_num" or not side}
    if operators := [section.model_dump() for section in config.operators]:
        operators[0] |= row.get("operator", {})
        operators[0]["rules"] = (operators[0]["rules"] or {}) | row.get("rules", {}) or None
        facts["Operator"] = operators
    return configs.with_values(config, facts)


def _shape(config: configs.Config) -> list[int]:
    """The shape of the images that the transforms of evaluation give."""
    operations = Parts(config).transforms("test")
    sizes = [arguments["size"] for op in operations for arguments in op.values() if "size" in arguments]
    side = sizes[-1]
    return [3, *(side if isinstance(side, list) else [side, side])]


def counted(row: dict[str, Any]) -> ppeconv.counting.Counts:
    """Parameters and MACs at the network's own image size, 1000 classes."""
    config = config_of(row, 1000)
    return ppeconv.count(Parts(config).model()[0], config.Infer.image_shape)


def run(row: dict[str, Any]) -> dict[str, Any]:
    """What happened at each step: a figure, or the error at which it ended."""
    result: dict[str, Any] = {"image": _shape(configs.load(row["config"]))[1], "side": row.get("side", SIDE)}
    step = STEPS[0]
    try:
        started = time.perf_counter()
        counts = counted(row)
        result["counted"] = [counts.params, counts.macs]
        side = result["side"]
        step = "built"
        model = Parts(config_of(row, CLASSES, side)).model()[0]
        result["built"] = True
        step = "trained"
        result["trained"] = train_step(model, side)
        with tempfile.TemporaryDirectory() as folder:
            step = "exported"
            result["exported"] = export(model, folder, [3, side, side], description(side))
            step = "served"
            scores = Predictor(folder).probabilities([np.full([side, side, 3], 127, np.uint8)] * 2)
            result["served"] = bool(scores.shape == (2, CLASSES) and np.allclose(scores.sum(1), 1, atol=1e-4))
        result["seconds"] = round(time.perf_counter() - started, 1)
    except Exception as error:  # whatever a network fails with is its row's result
        result["error"] = f"{step}: {type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return result


def train_step(model: paddle.nn.Layer, side: int) -> bool:
    """One step of SGD on noise: a finite loss, and a gradient in every parameter.

    The gains of the batch norms are then halved: at random weights a deep residual network else makes of a rounding
    error of 1e-7 one of 1e-5 and more.
    """
    paddle.seed(0)
    model.train()
    optimizer = paddle.optimizer.SGD(1e-3, parameters=model.parameters())
    images = paddle.randn([4, 3, side, side])
    loss = paddle.nn.functional.cross_entropy(model(images), paddle.arange(4).unsqueeze(1))
    loss.backward()
    optimizer.step()
    for layer in model.sublayers():
        if isinstance(layer, NORMS):
            layer.weight.set_value(layer.weight / 2)
    grads = [p.grad for p in model.parameters() if not p.stop_gradient]
    return math.isfinite(float(loss)) and all(grad is not None for grad in grads)


def description(side: int) -> dict[str, Any]:
    """What the predictor needs to know."""
    normalize = {"Normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}
    return {
        "class_names": [str(label) for label in range(CLASSES)],
        "transform_ops": [{"Resize": {"size": [side, side]}}, normalize],
    }


HEAD = """\
# 网络

<!-- 本页由 scripts/networks_table.py 写出，请不要手改。 -->

每个网络都能按名字选用 (`Arch.name`)，有一份现成的配置，可以换算子、加重标定块、取特征图 (`features=True`)。

- **计数**：1000 类，配置里的图像边长。1 次乘加 = 1 MAC，只计卷积与全连接；参数量不含 BN 的统计量。
- **对照**：别处的实现或公式给出的参数量与 MACs，`tests/backbones/test_networks.py` 逐个比较；
  只有约数的，比到它的最后一位。
- **训练、导出、推理**：{classes} 类，小图 (「边长」的第二个数)，随机输入：一步 SGD，损失有限且每个参数都有梯度；
  导出后在批大小 1 和 3 与原网络比较 (表中是最大相对误差)；再由 `Predictor` 从导出的目录推理。
  导出前 BN 的增益减半：随机权重的深残差网络会把舍入误差放大百倍。这说明每一步都走得通，不说明精度。
- **BN**：epsilon 是飞桨的默认值 1e-5，只有 MobileNetV3 照 paddle.vision 用 1e-3。不少原作用 1e-3：Inception V2 到 V4、
  Inception-ResNet V2、Xception、DPN，TensorFlow 版的 MobileNet、EfficientNet、MixNet；移植这些权重时要改成原作的值。
  飞桨的滑动方差是有偏的 (除以 n)，PyTorch 的无偏 (除以 n − 1)，n 为批内像素数；同样训练，存下的统计量略有不同。

飞桨 {paddle}，CPU。重新生成：`python scripts/networks_table.py --again`。

| 网络 | 配置 | 参数量 | MACs | 边长 | 训练一步 | 导出误差 | 推理 | 对照 | 说明 |
|---|---|---|---|---|---|---|---|---|---|
"""

STARTS = """
## 权重怎样起步

每个网络按它的论文或作者代码的规则起步，换上去的算子里的卷积和全连接也按这条规则 (`Arch.init: reference`，默认)；
`Arch.init: paddle` 用飞桨自己的初始化。规则在 `ppeconv/backbones/initial.py`，网络用类属性 `init` 说出规则的名字。

N(0, s) 是标准差 s 的正态分布，「截断」指截到两倍标准差以内；U(±a) 是均匀分布。分组卷积的 fan_in 只数一组的输入，
fan_out 数所有组的输出，与 PyTorch 相同。飞桨的默认 N(0, √(2/fan_in)) 却数所有组的输入，深度卷积因此小了 √通道数 倍。

| 规则 | 卷积 | 全连接 | 偏置 | 出处 | 网络 |
|---|---|---|---|---|---|
"""


def page(results: dict[str, Any]) -> str:
    """The page, with a row for every network."""
    lines = [line_of(row, results[row["name"]]) for row in rows()]
    return HEAD.format(classes=CLASSES, paddle=paddle.__version__) + "\n".join(lines) + "\n" + starts()


def starts() -> str:
    """The section on how weights start: a row for every rule, with the networks that name it."""
    texts = yaml.safe_load(RULE_TEXTS.read_text("utf-8"))
    networks = {rule: [name for name in BACKBONES.names() if BACKBONES.get(name).init == rule] for rule in RULES}
    lines = [f"| {' | '.join([f'`{rule}`', *texts[rule], ' '.join(networks[rule])])} |" for rule in RULES]
    return STARTS + "\n".join(lines) + "\n"


def line_of(row: dict[str, Any], result: dict[str, Any]) -> str:
    """A row of the page."""
    changed = row.get("arch", {}) | row.get("operator", {}) | row.get("rules", {})
    arguments = " ".join(f"`{key}: {value}`" for key, value in changed.items())
    params, macs = (f"{number:,}" for number in result["counted"])
    side = f"{result['image']} / {result['side']}"
    done = [
        "是" if result.get("trained") else "否",
        f"{result.get('exported', math.nan):.0e}",
        "是" if result.get("served") else "否",
    ]
    note = "；".join(part for part in (row.get("note"), result.get("error")) if part)
    cells = [row["name"], f"`{row['config']}` {arguments}".strip(), params, macs, side, *done, against(row), note]
    return f"| {' | '.join(cells)} |"


def against(row: dict[str, Any]) -> str:
    """What others count."""
    if "counts" not in row:
        return "—"
    agrees = "参数量与 MACs" if row["counts"][1] else "参数量"
    return f"{row['source']}：{agrees}相同"


def main() -> int:
    """0 when every network went through every step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--again", action="store_true", help="forget earlier results")
    again = parser.parse_args().again
    RESULTS.parent.mkdir(exist_ok=True)
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() and not again else {}
    for row in rows():
        known = results.get(row["name"], {"error": "not run"})
        if "error" in known or known["side"] != row.get("side", SIDE):
            results[row["name"]] = run(row)
            RESULTS.write_text(json.dumps(results, ensure_ascii=False, indent=1), "utf-8")
        print(f"{row['name']:<26}", results[row["name"]], flush=True)
    PAGE.write_text(page(results), "utf-8")
    failed = [name for name, result in results.items() if not all(result.get(step) is not None for step in STEPS)]
    print(f"wrote {PAGE.relative_to(ROOT)}; failed: {', '.join(failed) or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
