"""Operators put into networks."""

import numpy as np
import paddle
import pytest
from paddle import nn

import ppeconv
from ppeconv import UserError, create_model, replace_conv
from ppeconv.operators.spconv import SPConv


class Detector(nn.Layer):
    """A user's network: a shared convolution, two outputs, a grouped and an even-kernel convolution."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2D(3, 16, 3, 2, 1)
        self.grouped = nn.Conv2D(16, 16, 3, 1, 1, groups=4)
        self.even = nn.Conv2D(16, 16, 2, 2)
        self.shared = nn.Conv2D(16, 16, 3, 1, 1)
        self.alias = self.shared
        self.head = nn.Sequential(nn.Conv2D(16, 16, 3, 1, 1), nn.ReLU(), nn.Conv2D(16, 4, 1))

    def forward(self, x):
        x = self.even(self.grouped(self.stem(x)))
        x = self.alias(self.shared(x))
        return self.head(x), x


def test_users_network_with_several_outputs():
    model, report = replace_conv(Detector(), "SPConv", ratio=0.25)
    assert [row.path for row in report.replaced] == ["shared", "head.0"]
    assert {row.path: row.reason.split(",")[0] for row in report.skipped} == {
        "stem": "the first convolution is kept (rules.skip_first)",
        "grouped": "grouped",
        "even": "SPConv needs an odd kernel",
        "head.2": "kernel 1x1 is below rules.min_kernel 2",
    }
    assert model.shared is model.alias
    boxes, features = model(paddle.randn([2, 3, 32, 32]))
    assert boxes.shape == [2, 4, 8, 8]
    assert features.shape == [2, 16, 8, 8]


def test_report_has_counts_before_and_after():
    plain = ppeconv.count(create_model("ResNet20"), [1, 3, 32, 32])
    model, report = replace_conv(create_model("ResNet20"), "SPConv", input_size=[1, 3, 32, 32])
    now = ppeconv.count(model, [1, 3, 32, 32])
    assert report.params == (plain.params, now.params)
    assert report.macs == (plain.macs, now.macs)
    assert len(report.replaced) == 18
    assert "18 of 21 convolutions replaced" in str(report)


def test_dry_run_changes_nothing_and_predicts_the_counts():
    model = create_model("ResNet20")
    same, report = replace_conv(model, "SPConv", dry_run=True)
    assert same is model
    assert not any(isinstance(layer, SPConv) for layer in model.sublayers())
    assert report.params == (272_474, 105_082)


def test_a_convolution_itself_is_replaced():
    layer, _ = replace_conv(nn.Conv2D(8, 8, 3, padding=1), "SPConv", rules={"skip_first": False})
    assert isinstance(layer, SPConv)


def test_subclasses_and_insides_of_operators_stay():
    class Special(nn.Conv2D):
        def forward(self, x):
            return super().forward(x) * 2

    model = nn.Sequential(Special(3, 8, 3), SPConv(8, 8, 3), nn.Conv2D(8, 8, 3))
    model, report = replace_conv(model, "SPConv", rules={"skip_first": False})
    assert [row.path for row in report.rows] == ["0", "2"]
    assert "Special" in report.skipped[0].reason
    assert [row.path for row in report.replaced] == ["2"]


@pytest.mark.parametrize(
    ("rules", "replaced"),
    [
        ({"include": ["layer3.*"]}, 6),
        ({"exclude": ["*.conv2"]}, 9),
        ({"stride": [2]}, 2),
        ({"min_channels": 33}, 5),
        ({"kernel_size": [3]}, 18),
        ({"min_kernel": 1}, 20),
        ({"skip_first": False}, 19),
    ],
)
def test_rules(rules, replaced):
    _, report = replace_conv(create_model("ResNet20"), "SPConv", rules, dry_run=True)
    assert len(report.replaced) == replaced


def test_mobilenet_is_refused_with_what_would_apply():
    with pytest.raises(
        UserError, match=r"replaces none of the 52 .*operators that apply.*GhostConv.*MixConv.*rules.pairs=true"
    ):
        create_model("MobileNetV2", operator="SPConv")


def test_pairs_become_one_operator_each():
    model = create_model("MobileNetV2", stem="cifar", class_num=10)
    model, report = replace_conv(model, "SPConv", {"pairs": True}, input_size=[1, 3, 32, 32])
    operators = [layer for layer in model.sublayers() if isinstance(layer, SPConv)]
    assert len(report.replaced) == len(operators) == 17
    assert {layer.geometry.stride for layer in operators} == {(1, 1), (2, 2)}
    assert not any(isinstance(layer, nn.Conv2D) and layer._groups > 2 for layer in model.sublayers())
    assert model(paddle.randn([2, 3, 32, 32])).shape == [2, 10]
    assert all(isinstance(model.features[1].conv[0][index], nn.Identity) for index in range(3))


def test_pairs_need_the_order_of_a_sequence():
    class Unordered(nn.Layer):
        def __init__(self):
            super().__init__()
            self.depthwise = nn.Conv2D(8, 8, 3, padding=1, groups=8)
            self.pointwise = nn.Conv2D(8, 8, 1)

    with pytest.raises(UserError, match="none of the 2 convolutions"):
        replace_conv(Unordered(), "SPConv", {"pairs": True, "skip_first": False})


def test_nothing_is_changed_by_a_refusal():
    model = create_model("MobileNetV2")
    before = model.state_dict().keys()
    with pytest.raises(UserError):
        replace_conv(model, "SPConv")
    assert model.state_dict().keys() == before


def test_operators_apply_to_paddle_vision():
    model, report = replace_conv(paddle.vision.models.resnet18(num_classes=4), "SPConv")
    assert len(report.replaced) == 16
    assert np.isfinite(model(paddle.randn([1, 3, 64, 64])).numpy()).all()
