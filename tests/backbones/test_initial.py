"""How networks start: each by its own rule, operators in them too."""

import math

import numpy as np
import paddle
import pytest
from paddle import nn

import ppeconv
from ppeconv.backbones.initial import RULES, Fans, Truncated, initialise
from ppeconv.registry import BACKBONES


@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_backbone_names_a_rule(name):
    assert BACKBONES.get(name).init in RULES


def spread(layer):
    """Standard deviation of a layer's weights."""
    return float(layer.weight.numpy().std())


DENSE, GROUPED, DEPTHWISE = (64, 96, 3, 1), (64, 128, 3, 4), (300, 300, 5, 300)
"""Convolutions: input and output channels, side of the kernel, groups."""
LINEAR = 200, 300
CUT = 0.8796
"""What is left of a normal's standard deviation when it is cut at two of them."""


def he_fan_in(inputs, outputs, side, groups):
    return math.sqrt(2 * groups / (inputs * side**2))


def he_fan_out(inputs, outputs, side, groups):
    return math.sqrt(2 / (outputs * side**2))


def glorot(inputs, outputs, side=1, groups=1):
    return math.sqrt(2 / (side**2 * (inputs / groups + outputs)))


def caffe(inputs, outputs, side=1, groups=1):
    return math.sqrt(groups / (inputs * side**2))


FORMULAS = {
    "pytorch": (lambda i, o, k, g: math.sqrt(g / (3 * i * k**2)), lambda i, o: math.sqrt(1 / (3 * i))),
    "he_fan_in": (he_fan_in, lambda i, o: math.sqrt(2 / i)),
    "he_fan_in_small_head": (he_fan_in, lambda i, o: 0.01),
    "he_fan_out": (he_fan_out, lambda i, o: math.sqrt(1 / (3 * i))),
    "he_fan_out_small_head": (he_fan_out, lambda i, o: 0.01),
    "he_fan_out_of_group": (lambda i, o, k, g: math.sqrt(2 * g / (o * k**2)), lambda i, o: math.sqrt(1 / (3 * o))),
    "he_truncated": (he_fan_in, lambda i, o: math.sqrt(2 / i)),
    "he_truncated_glorot_head": (he_fan_in, glorot),
    "glorot": (glorot, glorot),
    "truncated": (lambda i, o, k, g: 0.09 * CUT, lambda i, o: 0.09 * CUT),
    "xavier_biased": (caffe, caffe),
    "xavier_small_head": (caffe, lambda i, o: 0.01),
    "one_over_channels": (lambda i, o, k, g: g / i, lambda i, o: 0.01),
}
"""The standard deviation of a convolution's weights and of a linear layer's by each rule."""


@pytest.mark.parametrize("rule", [name for name in RULES if name != "paddle"])
def test_weights_have_the_deviation_of_the_rules_formula(rule):
    paddle.seed(0)
    backbone = next(name for name in BACKBONES.names() if BACKBONES.get(name).init == rule)
    convs = [nn.Conv2D(i, o, k, groups=g) for i, o, k, g in (DENSE, GROUPED, DEPTHWISE)]
    model = nn.Sequential(nn.Conv2D(3, 8, 3), *convs, nn.Linear(*LINEAR))
    initialise(model, backbone)
    of_conv, of_linear = FORMULAS[rule]
    for conv, shape in zip(convs, (DENSE, GROUPED, DEPTHWISE), strict=True):
        assert spread(conv) == pytest.approx(of_conv(*shape), rel=0.03), shape
    assert spread(model[-1]) == pytest.approx(of_linear(*LINEAR), rel=0.03)


def test_truncated_weights_are_cut_at_two_deviations():
    paddle.seed(0)
    weights = nn.Linear(300, 300, weight_attr=Truncated(0.09)).weight.numpy()
    assert 0.17 < np.abs(weights).max() <= 0.18 + 1e-6
    weights = nn.Linear(300, 300, weight_attr=Truncated(3.0)).weight.numpy()
    assert 5.8 < np.abs(weights).max() <= 6 + 1e-5


@pytest.mark.parametrize(
    ("rule", "conv", "linear"),
    [("he_fan_out_small_head", 0.0, 0.0), ("truncated", 0.0, 0.0), ("xavier_biased", 0.2, 0.0)],
)
def test_biases_start_at_the_rules_value(rule, conv, linear):
    backbone = next(name for name in BACKBONES.names() if BACKBONES.get(name).init == rule)
    model = nn.Sequential(nn.Conv2D(4, 4, 1), nn.Conv2D(4, 4, 1), nn.Linear(4, 4))
    for layer in model:
        layer.bias.set_value(paddle.ones([4]))
    initialise(model, backbone)
    assert (model[1].bias.numpy() == np.float32(conv)).all()
    assert (model[2].bias.numpy() == np.float32(linear)).all()


def widest_depthwise(model):
    """The depthwise convolution of most channels."""
    convs = [layer for layer in model.sublayers() if isinstance(layer, nn.Conv2D) and layer._groups > 1]
    return max((conv for conv in convs if conv.weight.shape[1] == 1), key=lambda conv: conv._groups)


@pytest.mark.parametrize(
    ("name", "depthwise", "classifier"),
    [
        ("MobileNetV1", 0.09 * CUT, 0.09 * CUT),
        ("MobileNetV2", 0.09 * CUT, 0.09 * CUT),
        ("MobileNetV3Small", 0.09 * CUT, 0.09 * CUT),
        ("ShuffleNetV1", 1.0, 0.01),
        ("ShuffleNetV2", 1.0, 0.01),
        ("EfficientNetB0", math.sqrt(2 / 25), math.sqrt(1 / 30)),
    ],
)
def test_depthwise_and_classifier_weights_start_as_the_authors(name, depthwise, classifier):
    paddle.seed(0)
    model = ppeconv.create_model(name, class_num=10)
    assert spread(widest_depthwise(model)) == pytest.approx(depthwise, rel=0.05)
    linear = [layer for layer in model.sublayers() if isinstance(layer, nn.Linear)][-1]
    assert spread(linear) == pytest.approx(classifier, rel=0.05)


def test_the_first_convolution_and_a_classifier_that_is_one_start_by_their_own_rule():
    paddle.seed(0)
    shuffle = ppeconv.create_model("ShuffleNetV2", class_num=10)
    assert spread(shuffle.features[0][0][0]) == pytest.approx(0.01, rel=0.1)
    squeeze = ppeconv.create_model("SqueezeNet", class_num=10)
    assert spread(squeeze._conv) == pytest.approx(math.sqrt(1 / 27), rel=0.1)
    assert spread(squeeze._conv9) == pytest.approx(0.01, rel=0.05)


@pytest.mark.full
def test_inception_v3s_classifier_starts_as_its_convolutions():
    paddle.seed(0)
    model = ppeconv.create_model("InceptionV3", class_num=100)
    assert spread(model.fc) == pytest.approx(math.sqrt(2 / 2048), rel=0.02)


CHEAP = (
    *("DenseNet121", "DPN68", "EfficientNetB0", "GhostNet", "InceptionV1", "LeNet", "LeNet3C1L", "MixNetS"),
    *("MobileFaceNet", "MobileNetV1", "MobileNetV2", "MobileNetV3Small", "ResNet18", "ResNet20", "ShuffleNetV1"),
    *("ShuffleNetV2", "SqueezeNet", "VGG16Cifar"),
)
"""Networks that take a second or less."""


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *[pytest.param(name, {}, marks=[] if name in CHEAP else pytest.mark.full) for name in BACKBONES.names()],
        ("InceptionV1", {"batch_norm": False}),
    ],
)
def test_the_first_scores_tell_images_and_classes_apart(name, arguments):
    paddle.seed(0)
    channels, side, _ = BACKBONES.get(name).image_shape
    side = 139 if side == 299 else min(side, 64)
    if BACKBONES.accepts(name, "image_size"):
        arguments = arguments | {"image_size": side}
    model = ppeconv.create_model(name, class_num=10, **arguments)
    with paddle.no_grad():
        scores = model(paddle.randn([4, channels, side, side]))
    assert paddle.isfinite(scores).all()
    assert float(nn.functional.cross_entropy(scores, paddle.arange(4))) < 20
    scores = scores.numpy()
    between_images, between_classes = scores.std(0).mean(), scores.std(1).mean()
    assert between_classes > 1e-5
    assert between_images > 0.01 * between_classes


def test_cifar_resnets_start_with_he_over_the_fan_in():
    paddle.seed(0)
    model = ppeconv.create_model("ResNet20", width=4)
    conv, fc = model.layer3[1].conv1, model.fc
    assert spread(conv) == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.02)
    assert spread(fc) == pytest.approx(math.sqrt(2 / 256), rel=0.05)
    assert np.abs(fc.bias.numpy()).max() <= 1 / math.sqrt(256)


def test_resnets_start_with_he_over_the_fan_out():
    paddle.seed(0)
    model = ppeconv.create_model("ResNet18", stem="cifar", class_num=10)
    assert spread(model.layer4[0].conv1) == pytest.approx(math.sqrt(2 / (512 * 9)), rel=0.02)
    assert np.abs(model.fc.weight.numpy()).max() == pytest.approx(1 / math.sqrt(512), rel=0.02)


def test_the_fans_of_a_grouped_convolution_are_those_of_its_filters():
    assert Fans.of(nn.Conv2D(32, 64, 3, groups=4)) == Fans(8 * 9, 64 * 9, window=9, groups=4)
    assert Fans.of(nn.Conv2D(32, 32, 5, groups=32)) == Fans(25, 32 * 25, window=25, groups=32)
    assert Fans.of(nn.Linear(7, 5)) == Fans(7, 5)


def test_an_operators_layers_start_by_the_networks_rule():
    paddle.seed(0)
    model = ppeconv.create_model("ResNet20", width=4, operator="SPConv")
    gwc, pwc = model.layer3[1].conv1.gwc, model.layer3[1].conv1.pwc
    assert spread(gwc) == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert spread(pwc) == pytest.approx(math.sqrt(2 / 128), rel=0.02)


@pytest.mark.parametrize("operator", ["SpatialVersatile", "ChannelVersatile", "Versatile", "MaskedVersatile"])
@pytest.mark.parametrize("backbone", ["ResNet20", "VGG16Cifar"])
def test_versatile_filters_start_with_he_over_a_whole_filters_inputs(operator, backbone):
    paddle.seed(0)
    model = ppeconv.create_model(backbone, width=0.5, operator=operator)
    kind = type(ppeconv.create_operator(operator, 8, 8, 3))
    layers = [layer for layer in model.sublayers() if isinstance(layer, kind)]
    widest = max(layers, key=lambda layer: layer.weight.size)
    assert spread(widest) == pytest.approx(math.sqrt(2 / math.prod(widest.weight.shape[1:])), rel=0.05)


@pytest.mark.parametrize("kind", ["awn", "snet"])
def test_a_network_of_any_width_keeps_what_its_rule_has_drawn(kind):
    def weights(**arguments):
        paddle.seed(0)
        return ppeconv.create_model("LeNet3C1L", **arguments).state_dict()

    plain, wide = weights(), weights(anywidth={"kind": kind})
    drawn = [name for name in plain if name in wide and plain[name].ndim > 1]
    assert len(drawn) == 4
    for name in drawn:
        value = wide[name].numpy()
        assert value[value != 0].tolist() == plain[name].numpy()[value != 0].tolist()
        assert np.count_nonzero(value) > 0.4 * value.size


def test_a_layers_own_initializer_stays():
    paddle.seed(0)
    zero = paddle.ParamAttr(initializer=nn.initializer.Constant(0.0))
    model = nn.Sequential(nn.Conv2D(3, 4, 3, weight_attr=zero), nn.Conv2D(4, 4, 1), nn.Linear(4, 4, bias_attr=False))
    before = model[1].weight.numpy()
    initialise(model, "ResNet20")
    assert not model[0].weight.numpy().any()
    assert (model[1].weight.numpy() != before).all()


def test_a_block_that_begins_as_the_identity_does():
    model = ppeconv.create_model("ResNet20", operator="GC")
    blocks = [layer for layer in model.sublayers() if type(layer).__name__ == "GC"]
    maps = paddle.randn([1, 16, 8, 8])
    np.testing.assert_array_equal(blocks[0](maps).numpy(), maps.numpy())


def test_paddles_own_start_is_the_one_before_there_were_rules():
    paddle.seed(3)
    before = BACKBONES.create("ResNet20")
    paddle.seed(3)
    after = ppeconv.create_model("ResNet20", init="paddle")
    for name, value in before.state_dict().items():
        assert (value.numpy() == after.state_dict()[name].numpy()).all(), name


def test_networks_of_other_libraries_start_as_they_do_there():
    paddle.seed(3)
    before = paddle.vision.models.resnet18(num_classes=10)
    paddle.seed(3)
    after = ppeconv.create_model("paddle.vision.resnet18", class_num=10)
    for name, value in before.state_dict().items():
        assert (value.numpy() == after.state_dict()[name].numpy()).all(), name


def test_the_config_names_the_start():
    from ppeconv import config as configs

    assert configs.load("resnet20_conv_cifar10").Arch.init == "reference"
    with pytest.raises(ppeconv.UserError, match=r"Arch\.init should be 'reference' or 'paddle'"):
        configs.load("resnet20_conv_cifar10", ["Arch.init=he"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"init": "he"}, "init is one of reference, paddle; got 'he'"),
        ({"operator_args": {"ratio": 0.5}}, "operator_args or rules and no operator"),
        ({"rules": {"include": ["layer1.*"]}}, "operator_args or rules and no operator"),
    ],
)
def test_arguments_that_would_say_nothing_are_refused(arguments, message):
    with pytest.raises(ppeconv.UserError, match=message):
        ppeconv.create_model("LeNet", **arguments)
