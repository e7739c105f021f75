"""The fast CPU layers in bfloat16, against float32."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn
from paddle.base.framework import _dygraph_tracer
from paddle.nn import functional as F

import ppeconv
from ppeconv import UserError, backend
from ppeconv.cpu.library import onednn
from ppeconv.cpu.training import function, precision
from ppeconv.engine.precision import mixed_precision
from ppeconv.layers import functional
from tests.cpu.test_backend_layers import convolutions
from tests.support.precision import fast_results, normal, relative_error, results
from tests.support.runs import skip_without_bf16

LARGEST_ERROR = 1e-2
"""Norm of the difference from float32's result over that result's norm; a number loses up to 4e-3 by rounding."""


@pytest.fixture(scope="module", autouse=True)
def _off():
    with backend.disabled():
        yield


@pytest.fixture
def _has_bf16():
    skip_without_bf16()
    if not backend.available()[0]:
        pytest.skip(backend.available()[1])


def assert_near_float32(function, *arrays):
    """Result and gradients are those of float32 up to LARGEST_ERROR, and are not the very same."""
    exact = fast_results(function, arrays)
    with backend.enabled("bf16"):
        found = results(function, arrays)
    for ours, truth in zip(found, exact, strict=True):
        assert relative_error(ours, truth) <= LARGEST_ERROR
    assert not np.array_equal(found[0], exact[0])


@st.composite
def small_images(draw):
    """Convolutions of few positions and channels enough for the kernels of matrix units."""
    pairs, sides = st.tuples(st.integers(1, 3), st.integers(1, 3)), st.integers(0, 3)
    groups, channels = draw(st.integers(1, 2)), st.sampled_from([16, 17, 32, 48, 64, 200])
    kernel, dilation, padding = draw(pairs), draw(pairs), draw(st.tuples(sides, sides, sides, sides))
    around = sum(padding[:2]), sum(padding[2:])
    reach = [gap * (extent - 1) for gap, extent in zip(dilation, kernel, strict=True)]
    size = [draw(st.integers(max(1, 1 + far - by), 9)) for far, by in zip(reach, around, strict=True)]
    per_group = draw(channels)
    options = {"stride": draw(pairs), "padding": list(padding), "dilation": dilation, "groups": groups}
    return (
        (draw(st.integers(1, 8)), groups * per_group, *size),
        (groups * draw(channels), per_group, *kernel),
        False,
        options,
    )


@pytest.mark.usefixtures("_has_bf16")
@settings(max_examples=80, deadline=None, derandomize=True)
@given(convolutions())
def test_any_convolution(case):
    check_convolution(*case)


@pytest.mark.usefixtures("_has_bf16")
@settings(max_examples=200, deadline=None, derandomize=True)
@given(small_images())
def test_any_convolution_of_small_images(case):
    check_convolution(*case)


@pytest.mark.usefixtures("_has_bf16")
@pytest.mark.parametrize(
    ("image", "weight", "options"),
    [
        # rows or columns of padding alone: oneDNN's kernels crash
        ((2, 64, 1, 20), (20, 64, 3, 3), {"padding": [1, 3, 1, 2], "dilation": [2, 1]}),
        ((20, 16, 5, 1), (20, 16, 3, 1), {"padding": [0, 0, 3, 1], "dilation": [2, 2], "stride": [1, 2]}),
        # one column of results, columns skipped: those for AMX are wrong
        ((2, 64, 8, 2), (100, 64, 3, 3), {"padding": [0, 0, 0, 3], "stride": [1, 3]}),
        ((8, 64, 2, 2), (64, 64, 3, 3), {"padding": 1, "stride": 2}),
        # rows skipped between kernels: the same
        ((20, 34, 7, 64), (96, 17, 1, 3), {"padding": [0, 1, 3, 1], "stride": [3, 1], "dilation": [2, 1], "groups": 2}),
        ((8, 200, 8, 32), (100, 200, 2, 2), {"padding": [0, 0, 2, 1], "stride": [3, 1], "dilation": [1, 2]}),
        # an image narrower than the stride: the gradient of the weight is wrong
        ((3, 96, 7, 1), (16, 96, 1, 3), {"padding": [0, 2, 0, 2], "stride": [3, 2]}),
    ],
)
def test_what_onednn_computes_wrongly(image, weight, options):
    check_convolution(image, weight, False, options)


def check_convolution(image, weight, biased, options):
    """What oneDNN has no fast primitive for in bf16 is computed in float32."""
    exact, found = (results_in(name, image, weight, biased, options) for name in ("float32", "bf16"))
    for ours, truth in zip(found, exact, strict=True):
        assert relative_error(ours, truth) <= LARGEST_ERROR


def results_in(name, image, weight, biased, options):
    operands = normal(*image), normal(*weight), normal(weight[0]) if biased else None
    with backend.enabled(name):
        return results(lambda x, w, b: F.conv2d(x, w, b, **options), operands)


@pytest.mark.usefixtures("_has_bf16")
@pytest.mark.parametrize(
    ("image", "weight", "options"),
    [
        ((8, 3, 16, 16), (16, 3, 3, 3), {"padding": 1}),
        ((8, 16, 16, 16), (16, 16, 3, 3), {"padding": 1}),
        ((8, 64, 8, 8), (64, 64, 3, 3), {"padding": 1}),
        ((8, 16, 16, 16), (32, 16, 3, 3), {"padding": 1, "stride": 2}),
        ((8, 32, 9, 9), (48, 32, 1, 1), {}),
        ((8, 32, 9, 9), (48, 32, 1, 1), {"stride": 2}),
        ((4, 32, 12, 12), (32, 16, 3, 3), {"padding": 2, "dilation": 2, "groups": 2}),
        ((2, 3, 56, 56), (16, 3, 7, 7), {"padding": 3, "stride": 2}),
        ((4, 32, 9, 9), (32, 1, 3, 3), {"padding": 1, "stride": 2, "groups": 32}),
    ],
)
def test_the_usual_convolutions_multiply_bf16(image, weight, options):
    operands = normal(*image), normal(*weight), normal(weight[0])
    assert_near_float32(lambda *it: F.conv2d(*it, **options), *operands)


@pytest.mark.usefixtures("_has_bf16")
def test_what_bf16_holds_is_multiplied_exactly():
    """Sums are float32: of whole numbers, they lose nothing that the result's rounding does not."""
    draw = np.random.default_rng(2).integers
    image, weight = (draw(-2, 3, shape).astype("float32") for shape in ((2, 32, 6, 6), (8, 32, 1, 1)))
    exact, found = fast_results(F.conv2d, [image, weight]), None
    with backend.enabled("bf16"):
        found = results(F.conv2d, [image, weight])
    assert np.abs(exact[0]).max() <= 256
    np.testing.assert_array_equal(found[0], exact[0])


def activation(x):
    """What a fast layer makes of an image, in bfloat16 where those are on."""
    weight = np.zeros((x.shape[1], x.shape[1], 1, 1), "float32")
    weight[range(x.shape[1]), range(x.shape[1])] = 1
    return F.conv2d(x, paddle.to_tensor(weight))


def normalised(x, scale, shift):
    statistics = paddle.zeros([24]), paddle.ones([24])
    return F.batch_norm(activation(x), *statistics, scale, shift, training=True)


IMAGE, VECTOR, GATE = (4, 24, 10, 9), (24,), (4, 24, 1, 1)
FUNCTIONS = {
    "norm": (normalised, IMAGE, VECTOR, VECTOR),
    **{
        f"norm that names {name}": (lambda x, name=name: nn.BatchNorm(24, act=name)(activation(x)), (16, 24, 16, 16))
        for name in ("relu", "sigmoid", "hard_swish")
    },
    "norm and ReLU": (lambda *it: F.relu(normalised(*it)), (16, 24, 16, 16), VECTOR, VECTOR),
    "ReLU": (lambda x: F.relu(activation(x)), IMAGE),
    "ReLU of a sum": (lambda x, y: F.relu(activation(x) + activation(y)), (16, 24, 16, 16), (16, 24, 16, 16)),
    "ReLU of norm and sum": (
        lambda x, y, *it: F.relu(normalised(x, *it) + activation(y)),
        (16, 24, 16, 16),
        (16, 24, 16, 16),
        VECTOR,
        VECTOR,
    ),
    **{name: (lambda x, name=name: getattr(F, name)(activation(x)), IMAGE) for name in (*function.IN_BF16, "elu")},
    "sum with itself": (lambda x: (lambda y: y + y)(activation(x)), IMAGE),
    "sum with float32": (lambda x, y: activation(x) + y, IMAGE, IMAGE),
    "maximum pooling": (lambda x: F.max_pool2d(activation(x), 3, 2, 1), IMAGE),
    "average pooling": (lambda x: F.avg_pool2d(activation(x), 2), IMAGE),
    "mean": (lambda x: activation(x).mean([2, 3]), IMAGE),
    "gate": (lambda x, gate: activation(x) * F.sigmoid(gate), IMAGE, GATE),
    "gate of its own": (lambda x: (lambda y: y * F.sigmoid(y.mean([2, 3], keepdim=True)))(activation(x)), IMAGE),
    "shift": (lambda x, gate: activation(x) + gate, IMAGE, GATE),
    "blend": (lambda x, y: functional.softmax_blend(activation(x), activation(y)), IMAGE, IMAGE),
    "concat": (lambda x, y: paddle.concat([activation(x), activation(y)], 1), IMAGE, IMAGE),
    "concat with float32": (lambda x, y: paddle.concat([activation(x), F.hardswish(y)], 1), IMAGE, IMAGE),
    "split": (lambda x: (lambda a, b: F.relu(a) * b)(*activation(x).split(2, 1)), IMAGE),
    "channels": (lambda x: activation(x)[:, 3:17] * 2, IMAGE),
    "upsampling": (lambda x: F.interpolate(activation(x), scale_factor=2, mode="nearest"), IMAGE),
    "shuffle": (lambda x: F.channel_shuffle(activation(x), 3), IMAGE),
    "operators of Paddle": (lambda x: F.softmax(F.hardswish(activation(x)).flatten(1)) * 9, IMAGE),
    "in Paddle's layout": (lambda x: activation(x).transpose([0, 2, 3, 1]).reshape([4, -1, 12]).exp(), IMAGE),
    "linear": (lambda x, weight: F.linear(activation(x).mean([2, 3]), weight), IMAGE, (24, 5)),
}


@pytest.mark.usefixtures("_has_bf16")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_lies_between_convolutions(name):
    run, *shapes = FUNCTIONS[name]
    # Whole sixteenths, which bfloat16 holds: rounding decides on no maximum and on no ReLU.
    arrays = [np.round(normal(*shape) * 16) / 16 for shape in shapes]
    exact = fast_results(run, arrays)
    with backend.enabled("bf16"):
        found = results(run, arrays)
    for ours, truth in zip(found, exact, strict=True):
        assert relative_error(ours, truth) <= 2 * LARGEST_ERROR  # several are one behind the other


@pytest.mark.usefixtures("_has_bf16")
def test_activations_stay_bfloat16_and_statistics_float32():
    scale, shift = paddle.ones([24]), paddle.zeros([24])
    mean, variance = paddle.zeros([24]), paddle.ones([24])
    with backend.enabled("bf16"):
        x = activation(paddle.to_tensor(normal(*IMAGE)))
        y = F.relu(F.batch_norm(x, mean, variance, scale, shift, training=True))
        z = F.max_pool2d(y + x, 2)
        assert x.dtype == y.dtype == z.dtype == paddle.bfloat16
        assert F.softmax(z.flatten(1)).dtype == paddle.float32
    np.testing.assert_allclose(mean.numpy(), 0.1 * normal(*IMAGE).mean((0, 2, 3)), rtol=1e-2, atol=1e-4)


@pytest.mark.usefixtures("_has_bf16")
def test_one_activation_taken_by_layers_and_operators_in_any_order():
    """Its gradients are added up in one place, whoever sends the first."""

    def branches(order):
        takers = {
            "layer": lambda x: F.max_pool2d(x, 1) * 3,
            "sum": lambda x: x + activation(paddle.ones(x.shape)),
            "operator": F.hardswish,
            "convolution": activation,
        }

        def function(image):
            x = activation(image)
            return sum(takers[name](x).astype("float32") * (2 + place) for place, name in enumerate(order))

        return function

    for order in itertools.permutations(("layer", "sum", "operator", "convolution")):
        function, arrays = branches(order), [normal(2, 16, 5, 5)]
        exact = fast_results(function, arrays)
        with backend.enabled("bf16"):
            found = results(function, arrays)
        assert relative_error(found[1], exact[1]) <= LARGEST_ERROR, order


@pytest.mark.usefixtures("_has_bf16")
def test_several_backward_passes_through_what_they_share():
    """Losses of one network, each with a backward pass of its own, leave the sum of their gradients."""

    def gradient():
        x = paddle.to_tensor(normal(2, 16, 5, 5), stop_gradient=False)
        for _ in range(2):
            y = activation(x)
            (F.relu(y) + y).sum().backward()
        return x.grad.numpy()

    with backend.enabled():
        exact = gradient()
    with backend.enabled("bf16"):
        found = gradient()
    assert relative_error(found, exact) <= LARGEST_ERROR


@pytest.mark.usefixtures("_has_bf16")
def test_hooks_see_bfloat16_gradients():
    seen = []
    with backend.enabled("bf16"):
        x = paddle.to_tensor(normal(2, 16, 5, 5), stop_gradient=False)
        y = activation(x)
        y.register_hook(seen.append)
        F.conv2d(y, paddle.ones([4, 16, 3, 3])).sum().backward()
    assert seen[0].shape == y.shape
    np.testing.assert_allclose(seen[0].astype("float32").numpy(), x.grad.numpy(), rtol=1e-2)


@pytest.mark.usefixtures("_has_bf16")
def test_blocks_nest_and_keep_their_precision():
    with backend.enabled("bf16"):
        with backend.enabled():
            assert backend.precision() == "float32"
        with backend.disabled():
            assert not backend.is_enabled()
        assert (backend.is_enabled(), backend.precision()) == (True, "bf16")
        with pytest.raises(UserError, match="no precision 'fp8'; allowed: float32, bf16"):
            backend.enable("fp8")
        assert backend.precision() == "bf16"
    assert not backend.is_enabled()
    backend.enable()
    assert backend.precision() == "float32"
    backend.disable()


def softplus():
    """An operator of Paddle's that has no bfloat16."""
    return F.softplus(activation(paddle.to_tensor(normal(*IMAGE))))


@pytest.mark.usefixtures("_has_bf16")
def test_a_thread_that_leaves_its_block_takes_nothing_from_another():
    outer_is_in, inner_is_in = threading.Event(), threading.Event()

    def outer():
        with backend.enabled("bf16"):
            outer_is_in.set()
            inner_is_in.wait(60)

    thread = threading.Thread(target=outer)
    with backend.enabled():
        before = _dygraph_tracer()._get_amp_op_list()
        thread.start()
        outer_is_in.wait(60)
        with backend.enabled("bf16"):
            inner_is_in.set()
            thread.join()
            assert softplus().dtype == paddle.float32
        assert _dygraph_tracer()._get_amp_op_list() == before


@pytest.mark.usefixtures("_has_bf16")
@pytest.mark.parametrize("how", [{}, {"enable": False}, {"level": "O2", "dtype": "bfloat16"}])
def test_mixed_precision_of_paddle_does_nothing_inside_or_outside(how):
    with backend.enabled("bf16"), paddle.amp.auto_cast(**how):
        inside = softplus()
    with backend.enabled(), paddle.amp.auto_cast(**how), backend.enabled("bf16"):
        np.testing.assert_array_equal(softplus().numpy(), inside.numpy())


def trained(name, steps, numbers, **arguments):
    """Losses and weights of a few steps, with the layers in a precision."""
    paddle.seed(3)
    net = ppeconv.create_model(name, class_num=10, **arguments)
    optimizer = paddle.optimizer.Momentum(0.002, parameters=net.parameters())
    images, labels = paddle.to_tensor(normal(8, 3, 32, 32)), paddle.arange(8)
    losses = []
    for _ in range(steps):
        with backend.enabled(numbers):
            loss = F.cross_entropy(net(images), labels)
            loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert all(parameter.dtype == paddle.float32 for parameter in net.parameters())
    return losses, [value.numpy() for value in net.state_dict().values()]


@pytest.mark.usefixtures("_has_bf16")
@pytest.mark.parametrize(("name", "arguments"), [("ResNet20", {}), ("ResNet20", {"operator": "SPConv"})])
def test_steps_are_near_those_of_float32_and_the_same_seed_gives_the_same_bits(name, arguments):
    once, again = (trained(name, 4, "bf16", **arguments) for _ in range(2))
    assert all(np.array_equal(*pair) for pair in zip(once[1], again[1], strict=True))
    losses, weights = trained(name, 4, "float32", **arguments)
    np.testing.assert_allclose(once[0], losses, rtol=0.03)
    assert not np.array_equal(once[1][0], weights[0])


def test_a_cpu_that_would_imitate_it_is_refused(monkeypatch, tmp_path):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags : fpu avx2 avx512f\n", "utf-8")
    with pytest.raises(UserError, match="lists none of amx_bf16, avx512_bf16; train in float32"):
        precision.require("bf16", cpuinfo)
    precision.require("float32", cpuinfo)


def test_mixed_precision_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(backend, "lack_of_bf16", lambda: "this CPU does not compute in bf16")
    with pytest.raises(UserError, match=r"needs a GPU or a CPU that computes in bf16; this CPU does not"):
        mixed_precision("cpu", "O1", 1.0, True)
    monkeypatch.setattr(backend, "lack_of_bf16", lambda: None)
    with pytest.raises(UserError, match="needs the fast layers, which are off here"):
        mixed_precision("cpu", "O1", 1.0, True)


@pytest.mark.usefixtures("_has_bf16")
def test_mixed_precision_is_bf16_inside_its_block():
    with backend.enabled():
        mixed = mixed_precision("cpu", "O1", 1.0, True)
        with mixed.cast():
            assert precision.data_type() == onednn.BFLOAT16
        assert precision.data_type() == onednn.FLOAT32
    assert mixed.name == "bf16"
    assert mixed.scaler is None
