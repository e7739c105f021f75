"""Deployed networks compute what the trained ones do."""

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn

import ppeconv
from ppeconv import UserError, create_model, create_operator, list_operators
from ppeconv.anywidth import make_anywidth, set_width
from ppeconv.operators.spconv import GateFirstSPConv
from ppeconv.registry import OPERATORS


def used(model, *shape):
    """The network with uneven weights in its batch norms, after some passes that gave them statistics."""
    for layer in model.sublayers():
        if isinstance(layer, nn.BatchNorm2D):
            for value, low, high in ((layer.weight, -1.5, 1.5), (layer.bias, -1, 1)):
                if value is not None:
                    value.set_value(paddle.uniform(value.shape, min=low, max=high))
    for _ in range(3):
        model(2 * paddle.randn([4, *shape]) + 0.3)
    return model


def norms(model):
    return [layer for layer in model.sublayers() if isinstance(layer, nn.BatchNorm2D)]


def assert_same(model, fast, *shape):
    """Within 1e-5 of the largest output, at batch 1 and 3."""
    model.eval()
    for batch in (1, 3):
        image = paddle.randn([batch, *shape])
        ours, theirs = ([value] if isinstance(value, paddle.Tensor) else value for value in (fast(image), model(image)))
        for found, expected in zip(ours, theirs, strict=True):
            found, expected = found.numpy(), expected.numpy()
            assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("operator", list_operators())
def test_every_operator(operator):
    model = used(create_model("ResNet20", width=0.5, operator=operator), 3, 16, 16)
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    fast = ppeconv.deploy(model, [3, 16, 16])
    assert model.training
    assert not any(layer.training for layer in fast.sublayers())
    assert_same(model, fast, 3, 16, 16)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    assert len(norms(fast)) < len(norms(model))


FORMS = [
    ("SPConv", {}, {}),
    ("SPConv", {}, {"stride": 2}),
    ("SPConv", {"ratio": 0.25, "branch_bias": True}, {"padding": [0, 1]}),
    ("SPConv", {"gwc_groups": 1}, {"dilation": 2}),
    ("MixConv", {"kernel_sizes": [1, 5, 3]}, {}),
    ("MixConv", {"between": "none"}, {"stride": 2, "padding": 0}),
    ("MixConv", {"kernel_sizes": [3, 7]}, {"groups": 8, "out_channels": 8}),
    ("HetConv", {"parts": 2}, {"stride": 2}),
    ("HetConv", {"form": "unmasked"}, {"padding": 0}),
    ("HetConv", {}, {"padding": [2, 1], "dilation": 2, "in_channels": 24}),
    ("GhostConv", {}, {"stride": 2}),
    ("GhostConv", {"inner": "bn", "cheap_kernel": 5}, {"padding": [2, 1], "out_channels": 20}),
    ("GhostConv", {"ratio": 5}, {}),
    ("GhostConv", {"ratio": 1, "inner": "bn"}, {}),
    ("GhostConv", {}, {"out_channels": 1}),
    ("GroupConv", {"conv_groups": 4}, {"stride": 2}),
    ("GroupConv", {"conv_groups": 2, "shuffle": True}, {"kernel_size": 2, "padding": "SAME"}),
    ("SpatialVersatileConv", {"form": "sum"}, {}),
    ("SpatialVersatileConv", {}, {"kernel_size": 5, "padding": 0}),
    ("ChannelVersatileConv", {"delta": 6, "channel_stride": 2}, {"stride": 2}),
    ("VersatileConv", {"delta": 1}, {}),
    ("VersatileConv", {"delta": 4, "channel_stride": 4}, {"dilation": 2}),
    ("MaskedVersatileConv", {"scheme": "shared"}, {"padding": "SAME", "stride": 2}),
]


@pytest.mark.parametrize("bias", [None, False])
@pytest.mark.parametrize(("operator", "own", "geometry"), FORMS)
def test_forms_take_the_norm_behind_them(operator, own, geometry, bias):
    arguments = {"in_channels": 8, "out_channels": 12, "kernel_size": 3, "padding": 1, **geometry, "bias_attr": bias}
    layer = create_operator(operator, **arguments, **own)
    shape = [arguments["in_channels"], 9, 11]
    model = used(nn.Sequential(layer, nn.BatchNorm2D(arguments["out_channels"]), nn.ReLU()), *shape)
    for form in (None, *OPERATORS.get(operator).forms):
        fast = ppeconv.deploy(model, shape, form and {operator: form})
        assert not norms(fast)
        assert not any(isinstance(sub, type(layer)) for sub in fast.sublayers())
        assert_same(model, fast, *shape)


@settings(max_examples=25, deadline=None)
@given(
    operator=st.sampled_from([None, *list_operators()]),
    scale=st.booleans(),
    shift=st.booleans(),
    bias=st.sampled_from([None, False]),
    kind=st.sampled_from([nn.BatchNorm2D, nn.BatchNorm]),
)
def test_norms_without_scale_or_shift(operator, scale, shift, bias, kind):
    """Behind any convolution or operator, inside operators, and one that cannot be folded."""
    arguments = {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 1, "bias_attr": bias}
    layer = create_operator(operator, **arguments) if operator else nn.Conv2D(**arguments)
    model = nn.Sequential(nn.BatchNorm2D(8), layer, kind(8), nn.ReLU())
    model.eval()
    for norm in (sub for sub in model.sublayers() if isinstance(sub, (nn.BatchNorm2D, nn.BatchNorm))):
        norm.weight, norm.bias = norm.weight if scale else None, norm.bias if shift else None
        norm._mean.set_value(paddle.randn(norm._mean.shape))
        norm._variance.set_value(paddle.uniform(norm._variance.shape, min=0.2, max=2))
    assert_same(model, ppeconv.deploy(model, [8, 6, 6]), 8, 6, 6)


@pytest.mark.parametrize("geometry", [{"stride": 2}, {"padding": 0, "bias_attr": False}, {"kernel_size": (3, 5)}])
def test_the_merged_fire_takes_the_norm_behind_it(geometry):
    layer = create_operator("FireConv", **{"kernel_size": 3, "padding": 1, **geometry}, in_channels=8, out_channels=12)
    model = used(nn.Sequential(layer, nn.BatchNorm2D(12), nn.ReLU()), 8, 9, 11)
    for form, left in (("separate", 1), ("merged", 0)):
        fast = ppeconv.deploy(model, [8, 9, 11], {"FireConv": form})
        assert len(norms(fast)) == left
        assert_same(model, fast, 8, 9, 11)


@pytest.mark.parametrize(
    ("operator", "form"), [(it, form) for it in ("SPConv", "GhostConv") for form in OPERATORS.get(it).forms]
)
@pytest.mark.parametrize("scale", [0.0, 1e-40, 1e-30, 1e-6])
def test_a_norm_that_scales_to_almost_nothing(scale, operator, form):
    """Of the forms that divide by its scales."""
    model = used(nn.Sequential(create_operator(operator, 8, 8, 3, padding=1), nn.BatchNorm2D(8)), 8, 6, 6)
    model[1].weight.set_value(np.float32([scale] * 4 + [1.0, -0.5, 2.0, 0.1]))
    assert_same(model, ppeconv.deploy(model, [8, 6, 6], {operator: form}), 8, 6, 6)


@pytest.mark.parametrize(
    "geometry",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (3, 5)},
        {"kernel_size": 5, "padding": (1, 2)},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
    ],
)
@pytest.mark.parametrize("outputs", [12, 32])
def test_spconvs_gate_before_its_convolutions(geometry, outputs):
    """Of few and of many channels in a group, on images of other sizes too, down to one result."""
    model = used(nn.Sequential(create_operator("SPConv", 8, outputs, **geometry), nn.BatchNorm2D(outputs)), 8, 7, 9)
    fast = ppeconv.deploy(model, [8, 7, 9], {"SPConv": "gate_first"})
    assert isinstance(fast[0], GateFirstSPConv)
    for size in ((7, 9), (12, 5), (3, 5), (2, 1), (1, 1)):
        if min(model[0].geometry.output_size(*size)) > 0:
            assert_same(model, fast, 8, *size)


def test_the_merged_spconv_has_one_convolution_less():
    model = create_model("ResNet20", width=0.5, operator="SPConv")
    small, large = (ppeconv.deploy(model, forms={"SP": form}) for form in ("separate", "merged"))
    convs = [sum(isinstance(layer, nn.Conv2D) for layer in network.sublayers()) for network in (small, large)]
    assert convs[0] - convs[1] == 16  # of 18 operators, two have a stride
    assert ppeconv.count(small, [3, 32, 32]).macs < ppeconv.count(large, [3, 32, 32]).macs


def test_a_layers_own_form_counts_more_than_its_operators():
    model = create_model("ResNet20", width=0.5, operator="SPConv")
    first, second = [name for name, layer in model.named_sublayers() if type(layer).__name__ == "SPConv"][:2]
    fast = dict(ppeconv.deploy(model, forms={first: "separate", "sp": "merged"}).named_sublayers())
    assert (fast[first].pwc is None, fast[second].pwc is None) == (False, True)


@pytest.mark.parametrize("operator", ["HetConv", "GroupConv", "SpatialVersatileConv", "ChannelVersatileConv"])
def test_merged_forms_are_one_convolution(operator):
    fast = ppeconv.deploy(nn.Sequential(create_operator(operator, 8, 8, 3)), [8, 9, 9], {operator: "merged"})
    assert [type(layer) for layer in fast.sublayers()] == [nn.Conv2D]


@pytest.mark.parametrize("kind", ["awn", "snet"])
def test_any_width(kind):
    model = make_anywidth(create_model("ResNet20", width=0.5), kind=kind)
    set_width(model, 0.5)
    model.train()
    used(model, 3, 16, 16)
    fast = ppeconv.deploy(model)
    assert_same(model, fast, 3, 32, 32)
    assert not norms(fast)


class Awkward(nn.Layer):
    """A network with one convolution whose norm may be folded, among others."""

    def __init__(self, change):
        super().__init__()
        self.first, self.second = nn.Conv2D(3, 4, 3, padding=1), nn.Conv2D(4, 4, 3, padding=1)
        self.norm, self.other = nn.BatchNorm2D(4), nn.BatchNorm2D(4)
        self.change = change

    def forward(self, x):
        return self.change(self, self.norm(self.first(x)))


def conv_twice(net, x):
    return net.other(net.second(net.second(x)))


def norm_twice(net, x):
    return net.other(nn.functional.relu(net.other(net.second(x))))


def output_read_elsewhere(net, x):
    y = net.second(x)
    return net.other(y) + y[:, :1]


def read_through_a_softmax(net, x):
    y = net.second(x)
    return nn.functional.softmax(net.other(y), 1), nn.functional.softmax(y, 1)


def activation_between(net, x):
    return net.other(nn.functional.relu(net.second(x)))


def changed_in_place(net, x):
    return net.other(nn.functional.relu_(net.second(x)))


def conv_is_an_output(net, x):
    y = net.second(x)
    return [net.other(y), y]


def norm_before_the_conv(net, x):
    return net.second(net.other(x))


def two_norms(net, x):
    y = net.second(x)
    return net.other(y) * net.norm(y)


@pytest.mark.parametrize(
    "change",
    [
        *(conv_twice, norm_twice, output_read_elsewhere, read_through_a_softmax, activation_between, changed_in_place),
        *(conv_is_an_output, norm_before_the_conv),
    ],
)
def test_what_cannot_be_folded_stays(change):
    model = used(Awkward(change), 3, 8, 8)
    fast = ppeconv.deploy(model)
    assert_same(model, fast, 3, 8, 8)
    assert isinstance(fast.norm, nn.Identity)
    assert isinstance(fast.other, nn.BatchNorm2D)


def test_a_norm_in_two_places_stays():
    model = used(Awkward(two_norms), 3, 8, 8)
    fast = ppeconv.deploy(model)
    assert_same(model, fast, 3, 8, 8)
    assert len(norms(fast)) == 2


def test_frozen_weights_and_weight_norm():
    model = used(nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.Conv2D(4, 4, 3), nn.BatchNorm2D(4)), 3, 8, 8)
    for parameter in model.parameters():
        parameter.stop_gradient = True
    nn.utils.weight_norm(model[2])
    fast = ppeconv.deploy(model)
    assert_same(model, fast, 3, 8, 8)
    assert [type(layer) for layer in fast][1::2] == [nn.Identity, nn.BatchNorm2D]


def test_shared_layers_are_shared_in_the_deployed_network():
    block = nn.Sequential(nn.Conv2D(3, 3, 3, padding=1), nn.BatchNorm2D(3))
    model = used(nn.Sequential(block, nn.ReLU(), block, nn.Conv2D(3, 2, 1), nn.BatchNorm2D(2)), 3, 8, 8)
    fast = ppeconv.deploy(model)
    assert_same(model, fast, 3, 8, 8)
    assert len(norms(fast)) == 1
    assert fast[0] is fast[2]


def test_a_network_whose_forward_does_other_things_to_norms_is_refused():
    class Peeking(nn.Layer):
        """Looks at the convolution's output in a way that no gradient passes."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y.detach()

    with pytest.raises(UserError, match="differs from the trained one"):
        ppeconv.deploy(used(Peeking(), 3, 8, 8))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"input_size": [3, 0, 8]}, "positive sizes"),
        ({"input_size": [2, 32, 32]}, "does not run on an image"),
        ({"forms": {"SPConv": "merge"}}, "did you mean 'merged'"),
        ({"forms": {"SPCon": "merged"}}, "did you mean 'SPConv'"),
        ({"forms": {"conv1": "merged"}}, "operators or layers that are one; got 'conv1'"),
    ],
)
def test_bad_arguments(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        ppeconv.deploy(create_model("ResNet20", width=0.5), **arguments)


KNOWN_TO_PADDLE2ONNX = {
    *("add", "assign_value_", "batch_norm_", "concat", "conv2d", "data", "depthwise_conv2d", "full", "full_int_array"),
    *("index_select", "multiply", "pool2d", "relu", "reshape", "scale", "sigmoid", "slice", "softmax", "split"),
    *("split_with_num", "subtract", "transpose"),
}
"""tests/deployment/test_onnx.py converts every one of them."""


@pytest.mark.parametrize("operator", list_operators())
def test_deployed_forms_are_of_operations_that_convert_to_onnx(operator, tmp_path):
    if paddle.__version__ < "3":
        pytest.skip("the names are those of Paddle 3's programs")
    for inputs, outputs in ((16, 16), (12, 21)):
        try:
            layer = create_operator(operator, inputs, outputs, 3, padding=1)
        except UserError:
            continue
        model = nn.Sequential(layer, nn.BatchNorm2D(outputs), nn.ReLU())
        for form in OPERATORS.get(operator).forms or (None,):
            fast = ppeconv.deploy(model, [inputs, 8, 8], form and {operator: form})
            spec = paddle.static.InputSpec([None, inputs, 8, 8], "float32")
            paddle.jit.save(fast, str(tmp_path / "network"), input_spec=[spec])
            saved = paddle.jit.load(str(tmp_path / "network"))
            dialects = [operation.name().split(".") for operation in saved.program().global_block().ops]
            assert {name for dialect, name in dialects if dialect == "pd_op"} <= KNOWN_TO_PADDLE2ONNX
