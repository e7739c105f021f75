"""How networks start: each by its own rule, operators in them too."""

import math

import numpy as np
import paddle
import pytest
from paddle import nn

import ppeconv
from ppeconv.initial import RULES, Fans, initialise
from ppeconv.registry import BACKBONES


@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_backbone_names_a_rule(name):
    assert BACKBONES.get(name).init in RULES


def spread(layer):
    """Standard deviation of a layer's weights."""
    return float(layer.weight.numpy().std())


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
    assert Fans.of(nn.Conv2D(32, 64, 3, groups=4)) == Fans(8 * 9, 64 * 9)
    assert Fans.of(nn.Conv2D(32, 32, 5, groups=32)) == Fans(25, 32 * 25)
    assert Fans.of(nn.Linear(7, 5)) == Fans(7, 5)


def test_an_operators_layers_start_by_the_networks_rule():
    paddle.seed(0)
    model = ppeconv.create_model("ResNet20", width=4, operator="SPConv")
    gwc, pwc = model.layer3[1].conv1.gwc, model.layer3[1].conv1.pwc
    assert spread(gwc) == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert spread(pwc) == pytest.approx(math.sqrt(2 / 128), rel=0.02)


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
