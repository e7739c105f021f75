"""Residual blocks are found in any network, made narrower or left out, from Python and from a config."""

import re
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import yaml
from paddle import nn

import ppeconv
from ppeconv import config as configs
from ppeconv.branches.find import residual_blocks
from ppeconv.branches.narrowbranch import most_important
from ppeconv.cli.main import main
from ppeconv.errors import UserError
from ppeconv.experiment.parts import Parts
from ppeconv.registry import BRANCHES, placed
from tests.docs.test_operator_pages import assert_defaults


class Own(nn.Layer):
    """A block of nobody's library: a depthwise convolution inside, the sum written with paddle.add."""

    def __init__(self, channels):
        super().__init__()
        self.a, self.n = nn.Conv2D(channels, 6, 1), nn.BatchNorm2D(6)
        self.d = nn.Conv2D(6, 6, 3, padding=1, groups=6)
        self.b = nn.Conv2D(6, channels, 1)

    def forward(self, x):
        return paddle.add(self.b(self.d(F.relu(self.n(self.a(x))))), x)


def scrambled(model):
    """Weights and statistics that are all different."""
    random = np.random.default_rng(0)
    for value in model.state_dict().values():
        value.set_value(random.uniform(0.5, 1.5, value.shape).astype("float32"))
    model.eval()
    return model


@pytest.mark.parametrize(
    ("name", "arguments", "identities", "inner"),
    [
        ("ResNet14", {}, [1, 1, 0, 1, 0, 1], [[16], [16], [32], [32], [64], [64]]),
        ("ResNet14", {"shortcut": "A"}, [1, 1, 0, 1, 0, 1], [[16], [16], [32], [32], [64], [64]]),
        ("ResNet50", {"width": 0.125, "stem": "cifar"}, [0, 1, 1], [[8, 8]] * 3),
        ("MobileNetV2", {"width": 0.25}, [1, 1, 1], [[], [48], [48]]),
        ("ResNeXt50", {"width": 0.5}, [0, 1, 1], [[], [], []]),
        ("VGG16Cifar", {}, [], []),
    ],
)
def test_blocks_are_found(name, arguments, identities, inner):
    blocks = residual_blocks(ppeconv.create_backbone(name, **arguments), [1, 3, 32, 32])[: len(identities) or None]
    assert [block.is_identity for block in blocks] == list(map(bool, identities))
    assert [[one.writer._out_channels for one in block.inner] for block in blocks] == inner


def test_a_narrow_branch_is_the_wide_one_with_the_other_channels_cut():
    model = scrambled(nn.Sequential(nn.Conv2D(3, 8, 3), Own(8)))
    (block,) = residual_blocks(model, [1, 3, 8, 8])
    kept = most_important(block.inner[0], 3)
    importance = np.abs(block.layer.n.weight.numpy()) * 1.0  # a depthwise convolution reads, and then the 1x1
    importance = importance * np.linalg.norm(block.layer.b.weight.numpy()[:, :, 0, 0], axis=0)
    assert set(kept) == set(np.argsort(importance)[-3:])
    expected = paddle.zeros([])
    x = paddle.randn([2, 8, 5, 5])
    cut = block.layer.b.weight.numpy().copy()
    whole = cut.copy()
    cut[:, [c for c in range(6) if c not in kept]] = 0
    block.layer.b.weight.set_value(cut)
    expected = block.layer(x)
    block.layer.b.weight.set_value(whole)
    narrowed, report = ppeconv.change_branches(model, "NarrowBranch", ratio=0.5, input_size=[1, 3, 8, 8])
    assert narrowed is model
    assert [layer._out_channels for layer in (model[1].a, model[1].d, model[1].b)] == [3, 3, 8]
    np.testing.assert_allclose(model[1](x).numpy(), expected.numpy(), rtol=1e-4)
    assert (report.params, report.macs) != (report.params[::-1], report.macs[::-1])


def test_an_odd_share_keeps_one_channel_at_least():
    model = nn.Sequential(nn.Conv2D(3, 8, 3), Own(8))
    ppeconv.change_branches(model, "NarrowBranch", ratio=0.01, input_size=[1, 3, 8, 8])
    assert model[1].a._out_channels == 1


def test_no_branch_gives_what_goes_in():
    model = scrambled(nn.Sequential(nn.Conv2D(3, 8, 3), Own(8)))
    x = paddle.randn([1, 3, 8, 8])
    before = model[0](x)
    ppeconv.change_branches(model, "NoBranch", input_size=[1, 3, 8, 8])
    assert (model(x) == before).all()
    assert list(model.state_dict()) == ["0.weight", "0.bias"]


@pytest.mark.parametrize(("name", "own"), [("NarrowBranch", {"ratio": 0.25}), ("NoBranch", {})])
def test_counts_are_those_of_the_formula(name, own):
    model = ppeconv.create_backbone("ResNet14", width=2.0)
    (block, *_) = residual_blocks(model)
    layer = BRANCHES.get(name).changed(block, BRANCHES.choose(name, own).own)
    counts = ppeconv.count(layer, [1, 32, 8, 10])
    assert (counts.params, counts.macs) == BRANCHES.get(name).formula(32, 8, 10, **own)


def test_a_config_names_blocks():
    operators = [
        {"name": "NoBranch", "rules": {"include": ["layer1.1"]}},
        {"name": "NarrowBranch", "ratio": 0.25, "rules": {"include": ["layer*"], "exclude": ["layer1.*"]}},
        {"name": "GroupConv", "rules": {"include": ["layer1.0.conv1"]}},
    ]
    base = configs.load("resnet20_conv_cifar10", ["Arch.class_num=10", "Infer.image_shape=[3,32,32]"]).model_dump()
    config = configs.load({**base, "Arch": {"name": "ResNet14", "class_num": 10}, "Operator": operators})
    model, reports = Parts(config).model()
    assert [len(report.replaced) for report in reports] == [1, 4, 1]
    assert not any(name.startswith("layer1.1") for name in model.state_dict())
    assert model.state_dict()["layer3.1.conv1.weight"].shape == [16, 64, 3, 3]
    assert list(model(paddle.randn([2, 3, 32, 32])).shape) == [2, 10]


@pytest.mark.parametrize(
    ("backbone", "call", "words"),
    [
        ("VGG16Cifar", ("NoBranch",), "and VGG16Cifar has none"),
        ("ResNet14", ("NoBranch", {"include": ["layer2.0"]}), r"changes none of the 6 .*layer1.0: not named by rules"),
        ("ResNet14", ("NoBranch", {"includes": ["layer2.0"]}), "did you mean 'include'"),
        ("ResNet14", ("NoBrunch",), "did you mean 'NoBranch'"),
    ],
)
def test_mistakes_are_sentences(backbone, call, words):
    with pytest.raises(UserError, match=words):
        ppeconv.change_branches(ppeconv.create_backbone(backbone), *call, input_size=[1, 3, 32, 32])


def test_a_ratio_outside_is_refused():
    with pytest.raises(UserError, match=r"NarrowBranch\.ratio should be a number above 0 and below 1; got 1"):
        ppeconv.change_branches(ppeconv.create_backbone("ResNet14"), "NarrowBranch", ratio=1.0)


def test_they_are_listed(capsys):
    assert placed("nobranch") is BRANCHES
    assert main(["list", "branches", "--counts"]) == 0
    assert "37,056 parameters" in capsys.readouterr().out


@pytest.mark.parametrize("name", BRANCHES.names())
def test_page(name):
    text = (Path(__file__).parents[2] / "docs" / "branches" / f"{name.lower()}.md").read_text("utf-8")
    for heading in ("思路", "公式", "参数量与计算量", "放在哪里", "哪里合适，哪里不合适", "配置"):
        assert f"## {heading}" in text
    assert_defaults(text, BRANCHES.get(name).Arguments().model_dump())
    snippet = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.S)[1])
    del snippet["_base_"]
    config = configs.load({**configs.load("resnet20_conv_cifar10").model_dump(), **snippet})
    assert [section.name for section in config.operators] == [name]
