"""What holds for every operator; a new one is found by itself."""

from dataclasses import replace

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ppeconv
from ppeconv.errors import Unsupported, UserError
from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator
from ppeconv.registry import OPERATORS

NAMES = OPERATORS.names()
SIZES = st.builds(
    ConvGeometry.of,
    in_channels=st.integers(3, 12),
    out_channels=st.integers(2, 12).map(lambda n: 2 * n),
    kernel_size=st.one_of(st.integers(1, 5), st.tuples(st.integers(1, 5), st.integers(1, 5))),
    stride=st.integers(1, 2),
    padding=st.one_of(st.integers(0, 2), st.sampled_from(["SAME", "VALID"])),
    dilation=st.integers(1, 2),
    bias_attr=st.sampled_from([None, False]),
)


SETTINGS = [
    *[(name, {}) for name in NAMES],
    ("SPConv", {"ratio": 0.25, "gwc_groups": 1, "branch_bias": True}),
    ("GhostConv", {"ratio": 3, "cheap_kernel": 1}),
    ("GhostConv", {"inner": "bn_relu"}),
    ("HetConv", {"parts": 2}),
    ("HetConv", {"parts": 2, "form": "unmasked"}),
    ("MixConv", {"kernel_sizes": [5, 1], "between": "none"}),
    ("GroupConv", {"conv_groups": 3, "shuffle": True}),
    ("DepthwiseSeparableConv", {"order": "pw_dw"}),
    ("DepthwiseSeparableConv", {"between": "none"}),
    ("KernelReplaceConv", {"form": "stacked"}),
    *[("CompConv", {"depth": depth}) for depth in range(4)],
    ("SpatialVersatileConv", {"form": "sum"}),
    ("VersatileConv", {"delta": 2, "form": "sum"}),
    ("ChannelVersatileConv", {"delta": 2, "channel_stride": 2}),
    ("MaskedVersatileConv", {"secondaries": 3, "scheme": "shared"}),
    ("OctaveConv", {"alpha": 0.5}),
    ("OctaveConv", {"alpha_in": 0.0, "alpha_out": 0.5}),
    ("OctaveConv", {"alpha_in": 0.5, "alpha_out": 0.0}),
    ("InceptionConv", {"form": "naive"}),
    ("InceptionConv", {"form": "factorised"}),
    ("Res2Conv", {"scale": 2, "between": "bn"}),
    ("AggregatedConv", {"cardinality": 2, "form": "concatenated"}),
    ("AggregatedConv", {"cardinality": 2, "form": "branches", "between": "none"}),
    ("ShuffleUnitV1", {"first_groups": 1}),
    ("SKConv", {"branches": 3, "min_width": 4}),
]


def built(name, geometry, own=()):
    try:
        return OPERATORS.get(name).of_geometry(geometry, **dict(own))
    except Unsupported:
        return None


@pytest.mark.parametrize(("name", "own"), SETTINGS)
@settings(max_examples=20, deadline=None)
@given(
    geometry=SIZES,
    depthwise=st.integers(0, 4),
    odd=st.integers(0, 1),
    height=st.integers(9, 14),
    width=st.integers(9, 14),
)
def test_shape_and_closed_form(name, own, geometry, depthwise, odd, height, width):
    geometry = replace(geometry, out_channels=geometry.out_channels + odd)
    if depthwise == 0:
        geometry = replace(geometry, out_channels=geometry.in_channels, groups=geometry.in_channels)
    layer = built(name, geometry, own)
    if layer is None:
        return
    assert layer(paddle.randn([1, geometry.in_channels, height, width])).shape[2:] == list(
        geometry.output_size(height, width)
    )
    counts = ppeconv.count(layer, [1, geometry.in_channels, height, width])
    assert (counts.params, counts.macs) == OPERATORS.get(name).formula(geometry, height, width, **own)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stride", [1, 2])
def test_every_parameter_gets_a_gradient(name, stride):
    layer = built(name, ConvGeometry.of(16, 16, 3, stride, 1))
    layer(paddle.randn([2, 16, 9, 9])).square().sum().backward()
    trainable = [(key, p) for key, p in layer.named_parameters() if not p.stop_gradient]
    assert trainable
    assert all(p.grad is not None and np.isfinite(p.grad.numpy()).all() for _, p in trainable)


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_layer_is_the_same(name, tmp_path):
    geometry = ConvGeometry.of(16, 16, 3, 1, 1)
    layer, other = built(name, geometry), built(name, geometry)
    paddle.save(layer.state_dict(), str(tmp_path / "a.pdparams"))
    other.set_state_dict(paddle.load(str(tmp_path / "a.pdparams")))
    layer.eval()
    other.eval()
    x = paddle.randn([2, 16, 8, 8])
    assert (layer(x).numpy() == other(x).numpy()).all()


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_weights(name):
    layers = []
    for _ in range(2):
        paddle.seed(7)
        layers.append(built(name, ConvGeometry.of(16, 16, 3, 1, 1)))
    for first, second in zip(*(layer.state_dict().values() for layer in layers), strict=True):
        assert (first.numpy() == second.numpy()).all()


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(name):
    assert ppeconv.list_operators()[name].endswith((".", ":"))


@settings(max_examples=60, deadline=None)
@given(geometry=SIZES, height=st.integers(9, 14), width=st.integers(9, 14))
def test_geometry_equals_paddle(geometry, height, width):
    conv = paddle.nn.Conv2D(**geometry.conv_arguments())
    x = paddle.randn([1, geometry.in_channels, height, width])
    assert conv(x).shape[2:] == list(geometry.output_size(height, width))
    assert ConvGeometry.of_layer(conv) == geometry


@pytest.mark.parametrize("padding", [1, [1, 2], [0, 1, 2, 3], [[0, 0], [0, 0], [0, 1], [2, 3]], "SAME", "VALID"])
@pytest.mark.parametrize("kernel", [3, (3, 4)])
def test_normal_form_of_a_padding_convolves_alike(padding, kernel):
    conv = paddle.nn.Conv2D(4, 6, kernel, 1, padding)
    plain = paddle.nn.Conv2D(**ConvGeometry.of_layer(conv).conv_arguments())
    plain.set_state_dict(conv.state_dict())
    x = paddle.randn([1, 4, 9, 11])
    np.testing.assert_allclose(conv(x).numpy(), plain(x).numpy(), atol=1e-6)


@pytest.mark.parametrize("limits", [("dense", "odd kernels"), "dense"])
def test_an_unknown_limit_is_refused_where_it_is_written(limits):
    with pytest.raises(UserError, match=r"Limited\.limits should be a tuple of names among \['dense', .*; got "):
        type("Limited", (ConvOperator,), {"limits": limits})


def test_conv2d_operator_is_the_convolution():
    layer = ppeconv.create_operator("Conv2D", 4, 6, 3, 2, 1)
    x = paddle.randn([2, 4, 9, 9])
    assert (layer(x).numpy() == layer.conv(x).numpy()).all()
