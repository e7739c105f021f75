"""Own arguments are declared once and checked once; what is declared in signatures, as before, works and warns."""

import pydantic
import pytest
from paddle import nn

import ppeconv
from ppeconv import config as configs
from ppeconv.domains import Channels
from ppeconv.errors import Unsupported, UserError
from ppeconv.experiment.parts import Parts
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.operators.cost import Cost
from ppeconv.operators.spconv import SPConv
from ppeconv.recalibration.base import Recalibration
from ppeconv.registry import OPERATORS, PLACED, Registry

ENTRIES = [(registry, name) for registry in PLACED for name in registry.names()]


@pytest.mark.parametrize(("registry", "name"), ENTRIES, ids=[name for _, name in ENTRIES])
def test_every_argument_has_a_meaning_and_a_default(registry, name):
    for key, field in registry.get(name).Arguments.model_fields.items():
        assert field.description, key
        assert not field.is_required(), key


def test_own_arguments_do_not_change():
    own = SPConv.arguments({"ratio": 0.25})
    assert (own.ratio, own.gwc_groups) == (0.25, 2)
    with pytest.raises(pydantic.ValidationError):
        own.ratio = 0.5


def test_a_config_is_checked_once_and_every_layer_once(monkeypatch):
    checked, asked = [], []
    choose, refuse = Registry.choose, SPConv.refuse.__func__

    def counted(registry, name, own):
        checked.extend([name] if isinstance(name, str) else [])
        return choose(registry, name, own)

    monkeypatch.setattr(Registry, "choose", counted)
    monkeypatch.setattr(
        SPConv, "refuse", classmethod(lambda cls, geometry, own: asked.append(own) or refuse(cls, geometry, own))
    )
    overrides = ["Arch.class_num=10", "Infer.image_shape=[3, 32, 32]", "Arch.width=0.25", "Operator.ratio=0.25"]
    config = configs.with_values(configs.load("resnet20_spconv_cifar10", overrides), {"Arch.class_num": 5})
    _, (report,) = Parts(config).model()
    assert checked == ["SPConv"]
    assert len(asked) == len(report.replaced)
    assert all(own is config.operators[0].choice.own for own in asked)


def test_a_choice_takes_no_arguments_besides():
    choice = OPERATORS.choose("SPConv", {"ratio": 0.25})
    assert OPERATORS.choose(choice, {}) is choice
    with pytest.raises(UserError, match="chosen with its arguments already; got ratio"):
        ppeconv.replace_conv(nn.Sequential(nn.Conv2D(4, 4, 3)), choice, ratio=0.5)


def former_operator():
    class FormerConv(ConvOperator):
        """A plain convolution of so many groups."""

        def build(self, geometry, *, parts: Channels = 2):
            self.conv = nn.Conv2D(geometry.in_channels, geometry.out_channels, geometry.kernel_size, groups=parts)

        @classmethod
        def refuse(cls, geometry, *, parts, **own):
            if geometry.in_channels % parts:
                raise Unsupported(f"parts {parts}")

        @classmethod
        def describe(cls, geometry, *, parts):
            return f"{geometry} in {parts}"

        @classmethod
        def cost(cls, geometry, height, width, *, parts):
            size = geometry.output_size(height, width)
            return Cost.conv(geometry.in_channels, geometry.out_channels, geometry.kernel_size, size, parts, True)

        def forward(self, x):
            return self.conv(x)

    return FormerConv


def test_an_operator_with_its_arguments_in_signatures_works():
    with pytest.warns(DeprecationWarning, match=r"FormerConv .* signatures of build, refuse, describe, cost"):
        former = former_operator()
    ppeconv.register_operator(former)
    try:
        network = nn.Sequential(nn.Conv2D(8, 8, 3))
        model, report = ppeconv.replace_conv(network, "FormerConv", {"skip_first": False}, parts=4)
        assert report.rows[0].after == "FormerConv 3x3 8->8 in 4"
        assert model[0].conv._groups == 4
        counts = ppeconv.count(model, [1, 8, 6, 6])
        assert (counts.params, counts.macs) == former.formula(ConvGeometry.of(8, 8, 3), 6, 6, parts=4)
        assert former(8, 8, 3).conv._groups == 2
        with pytest.raises(UserError, match=r"FormerConv\.parts should be an integer from 1 to 4,096; got 0"):
            ppeconv.create_operator("FormerConv", 8, 8, 3, parts=0)
        with pytest.raises(UserError, match="FormerConv has no key 'part'; did you mean 'parts'"):
            former(8, 8, 3, part=2)
        with pytest.raises(Unsupported, match="parts 3"):
            former(8, 8, 3, parts=3)
    finally:
        del OPERATORS._entries["FormerConv"], OPERATORS._aliases["formerconv"]


def test_an_init_of_its_own_is_refused():
    with pytest.raises(UserError, match=r"Former has an __init__.* declare them once, as fields of a class Arguments"):

        class Former(Recalibration):
            """Times a number."""

            def __init__(self, channels, *, times: float = 2.0):
                super().__init__()
                self.times = times


def test_a_plain_layer_is_not_put_into_a_network():
    blocks = Registry("recalibration block")
    blocks.register(nn.ReLU)
    with pytest.raises(UserError, match=r"recalibration block ReLU cannot be put .* nor a Block"):
        blocks.choose("ReLU", {})
