"""Operators put into networks."""

import re

import numpy as np
import paddle
import pytest
from paddle import nn

import ppeconv
from ppeconv import UserError, create_model, replace_conv
from ppeconv.layers.parameters import own_parameters
from ppeconv.layers.walk import exchange, walk
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


def test_a_walk_comes_to_every_place_and_enters_a_layer_once():
    model = Detector()
    model.head.add_sublayer("again", model.head[0])
    model.closed = SPConv(16, 16, 3)
    places = {place.path: place for place in walk(model, (SPConv,))}
    inside = ["head.0", "head.1", "head.2", "head.again"]
    assert list(places) == ["", "stem", "grouped", "even", "shared", "alias", "head", *inside, "closed"]
    assert places["alias"].layer is places["shared"].layer
    assert places["head.2"].owner is model.head
    new = nn.Identity()
    assert exchange(model, {id(model.shared): new, id(model.head[0]): new}) is model
    assert {id(layer) for layer in (model.shared, model.alias, model.head[0], model.head.again)} == {id(new)}
    assert exchange(model, {id(model): new}) is new


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


def test_what_is_no_network_is_a_sentence():
    with pytest.raises(UserError, match=r"a network is a paddle.nn.Layer; got an object of type int"):
        replace_conv(3, "SPConv")


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


ATTRIBUTES = paddle.ParamAttr(
    learning_rate=0.1, regularizer=paddle.regularizer.L2Decay(1e-3), need_clip=False, trainable=False
)


def modes(model):
    return {path: layer.training for path, layer in model.named_sublayers(include_self=True)}


@pytest.mark.parametrize("operator", ppeconv.list_operators())
def test_an_operator_is_as_what_it_replaces(operator):
    """Mode, freezing, learning rate factor, regulariser, clipping, number format and hooks."""
    conv = nn.Conv2D(8, 8, 3, padding=1, weight_attr=ATTRIBUTES, bias_attr=ATTRIBUTES)
    conv.eval()
    conv.to(dtype="float64")
    seen = []
    conv.register_forward_pre_hook(lambda layer, inputs: seen.append("before"))
    handle = conv.register_forward_post_hook(lambda layer, inputs, output: 2 * output)
    new, report = replace_conv(conv, operator, {"skip_first": False, "min_kernel": 1})
    assert not any(modes(new).values())
    values = [value for layer in new.sublayers(include_self=True) for value in own_parameters(layer).values()]
    assert {value.stop_gradient for value in values} == {True}
    assert {value.optimize_attr["learning_rate"] for value in values} == {0.1}
    assert {str(value.regularizer) for value in values} == {str(ATTRIBUTES.regularizer)}
    assert {value.need_clip for value in values} == {False}
    assert {value.dtype for value in new.state_dict().values()} == {paddle.float64}
    x = paddle.randn([1, 8, 6, 6], "float64")
    doubled = new(x)
    handle.remove()
    np.testing.assert_allclose(doubled.numpy(), 2 * new(x).numpy())
    assert seen == ["before", "before"]
    assert any("frozen as before" in what for what in report.remarks) == (not report.rows[0].inherited)


def test_a_bias_has_its_own_attributes():
    conv = nn.Conv2D(8, 8, 3, weight_attr=ATTRIBUTES, bias_attr=paddle.ParamAttr(learning_rate=2.0))
    new, _ = replace_conv(conv, "SPConv", {"skip_first": False})
    factors = {name: value.optimize_attr["learning_rate"] for name, value in new.named_parameters()}
    assert factors == {
        **dict.fromkeys(["gwc.weight", "pwc.weight", "redundant.weight", "bn3.weight", "bn1.weight"], 0.1),
        **dict.fromkeys(["redundant.bias", "bn3.bias", "bn1.bias"], 2.0),
        **{f"bn{number}.{name}": 1.0 for number in (3, 1) for name in ("_mean", "_variance")},
    }
    assert new.redundant.weight.stop_gradient
    assert not new.redundant.bias.stop_gradient


@pytest.mark.parametrize(("operator", "rules"), [("SPConv", {}), ("OctaveConv", {"flow": True})])
@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_every_layer_stays(operator, rules, training):
    model = create_model("ResNet18", width=0.25)
    model.train() if training else model.eval()
    model, _ = replace_conv(model, operator, rules)
    assert set(modes(model).values()) == {training}


def test_frozen_norms_stay_frozen_where_octaves_flow():
    model = create_model("ResNet18", width=0.25)
    for layer in model.sublayers():
        if isinstance(layer, nn.BatchNorm2D):
            layer.weight.stop_gradient = layer.bias.stop_gradient = True
    model.layer1[0].bn1 = nn.BatchNorm2D(16, weight_attr=False, bias_attr=False, use_global_stats=True)
    model, _ = replace_conv(model, "OctaveConv", {"flow": True})
    norms = [layer for layer in model.sublayers() if isinstance(layer, nn.BatchNorm2D)]
    assert all(value.stop_gradient for norm in norms for value in own_parameters(norm).values())
    bare = model.layer1[0].bn1.high
    assert (bare.weight, bare.bias, bare._use_global_stats) == (None, None, True)


@pytest.mark.parametrize("hook", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_weight_norm_is_dropped_and_the_report_says_so(hook):
    model = nn.Sequential(nn.Conv2D(4, 4, 1), hook(nn.Conv2D(4, 4, 3)))
    for parameter in model.parameters():
        parameter.set_value(paddle.randn(parameter.shape))
    model.eval()
    x = paddle.randn([1, 4, 8, 8])
    expected = model(x).numpy()
    model, report = replace_conv(model, "Conv2D", {"min_kernel": 2})
    assert "weight norm or another hook that makes weights is dropped" in str(report)
    np.testing.assert_allclose(model(x).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_what_stands_between_two_convolutions_is_remarked_on():
    model = nn.Sequential(nn.Conv2D(4, 4, 3, groups=4), nn.BatchNorm2D(4), nn.ReLU(), nn.Conv2D(4, 8, 1))
    model[1].register_forward_post_hook(lambda layer, inputs, output: None)
    model[0].weight.optimize_attr["learning_rate"] = 0.5
    _, report = replace_conv(model, "SPConv", {"pairs": True, "skip_first": False})
    assert len(report.remarks) == 3  # and the operator costs more than the pair
    assert "hooks between the replaced layers are dropped: 0" in str(report)


@pytest.mark.parametrize(
    ("operator", "own", "channels", "advice"),
    [
        ("CompConv", {}, (32, 64), "saves neither parameters nor MACs; depth=2 would"),
        ("CompConv", {}, (32, 32), None),
        ("CompConv", {"depth": 2}, (32, 64), None),
        ("GroupConv", {"conv_groups": 1}, (32, 64), "saves neither parameters nor MACs; conv_groups=2 would"),
        ("OctaveConv", {}, (32, 64), None),
        ("SKConv", {}, (32, 64), "saves neither parameters nor MACs"),
        ("Conv2D", {}, (32, 64), None),
    ],
)
def test_an_operator_that_saves_nothing_is_remarked_on(operator, own, channels, advice):
    _, report = replace_conv(nn.Conv2D(*channels, 3), operator, {"skip_first": False}, dry_run=True, **own)
    assert list(report.remarks) == ([advice] if advice else [])


@pytest.mark.parametrize("operator", [name for name in ppeconv.list_operators() if name != "Conv2D"])
def test_advice_saves(operator):
    """Whatever is proposed is accepted and costs less; what is not remarked on costs less already."""
    for geometry in [(16, 32, 3), (32, 64, 3), (64, 128, 1), (6, 16, 5)]:
        try:
            _, report = replace_conv(
                nn.Conv2D(*geometry), operator, {"skip_first": False, "min_kernel": 1}, [1, geometry[0], 64, 64]
            )
        except UserError:
            continue
        advice = next((what for what in report.remarks if "saves neither" in what), None)
        saved = report.params[1] < report.params[0] or report.macs[1] < report.macs[0]
        assert saved == (advice is None)
        if advice and (value := re.search(r"(\w+)=(\w+) would", advice)):
            _, better = replace_conv(
                nn.Conv2D(*geometry),
                operator,
                {"skip_first": False, "min_kernel": 1},
                [1, geometry[0], 64, 64],
                **{value[1]: int(value[2])},
            )
            assert better.params[1] <= report.params[0]
            assert better.macs[1] <= report.macs[0]
            assert not better.remarks
