"""The executor computes what Paddle does, in portions of any size, or says what it does not know."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

import ppeconv
from ppeconv import UserError, backend, create_model, create_operator, list_operators
from ppeconv.cpu.inference import executor
from ppeconv.cpu.inference.executor import Executor
from ppeconv.cpu.inference.fuse import fused
from ppeconv.cpu.library import openmp
from ppeconv.cpu.library.cpuinfo import second_level_cache
from ppeconv.deployment.rewrite import fusing_forms
from ppeconv.layers.shuffle import in_one_operation
from tests.deployment.test_deploy import used
from tests.support.runs import skip_without_bf16

pytestmark = [
    pytest.mark.skipif(not backend.available()[0], reason=backend.available()[1]),
    pytest.mark.skipif(paddle.__version__.startswith("2"), reason="Paddle 2 writes programs of another kind"),
]


class Calls(nn.Layer):
    """A function of images as a network."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.LayerList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


def executor_of(model, folder, shape, **arguments):
    model.eval()
    spec = paddle.static.InputSpec([None, *shape], "float32")
    with in_one_operation():  # as export traces
        paddle.jit.save(paddle.jit.to_static(model, input_spec=[spec], full_graph=True), str(folder / "net"))
    return Executor(folder / "net", **arguments)


def assert_same(model, run, shape, batches=(1, 5)):
    for batch in batches:
        images = np.random.default_rng(batch).standard_normal((batch, *shape), np.float32)
        expected, found = model(paddle.to_tensor(images)).numpy(), run(images)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("channels", [1, 3, 15])
@pytest.mark.parametrize("stride", [2, (2, 1)])
def test_a_strided_1x1_of_few_channels(channels, stride, tmp_path):
    """Its gradient is what training leaves to Paddle; the convolution itself is sound."""
    model = nn.Conv2D(channels, 24, 1, stride)
    assert_same(model, executor_of(model, tmp_path, [channels, 9, 9], threads=2), [channels, 9, 9])


@pytest.mark.parametrize("operator", list_operators())
def test_every_operator(operator, tmp_path):
    model = used(create_model("ResNet20", width=0.5, operator=operator), 3, 16, 16)
    model.eval()
    run = executor_of(ppeconv.deploy(model, [3, 16, 16]), tmp_path, [3, 16, 16], threads=1)
    for part in (*run._together.parts, run._together.whole):
        part.images_together = 2
    assert_same(model, run, [3, 16, 16])


@pytest.mark.parametrize(("weight", "shares"), [(1 << 10, 4), (1 << 30, 2)])
def test_threads_take_shares_of_many_images(weight, shares, tmp_path):
    """More shares than threads where weights are few."""
    model = used(create_model("ResNet20", width=0.5), 3, 16, 16)
    run = executor_of(model, tmp_path, [3, 16, 16], threads=2)
    run._largest_weight = weight
    for line in run._alone:
        line.parts[0].images_together = 2
    images = np.random.default_rng(0).standard_normal((11, 3, 16, 16), np.float32)
    expected, found = model(paddle.to_tensor(images)).numpy(), run._shared(images)
    assert run._shares(len(images)) == shares
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("operator", list_operators())
def test_every_operator_in_bf16(operator, tmp_path):
    """In portions, by threads that share the images and by threads that work together."""
    skip_without_bf16()
    layer = create_operator(operator, 16, 16, 3, padding=1)
    model = used(nn.Sequential(nn.Conv2D(3, 16, 1), layer, nn.BatchNorm2D(16), nn.ReLU()), 3, 8, 8)
    model.eval()
    executor_of(ppeconv.deploy(model, [3, 8, 8], fusing_forms()), tmp_path, [3, 8, 8])
    run = Executor(tmp_path / "net", 2, "bf16")
    images = np.random.default_rng(0).standard_normal((7, 3, 8, 8), np.float32)
    expected = model(paddle.to_tensor(images)).numpy()
    for part in (it for line in (run._together, *run._alone) for it in (*line.parts, line.whole)):
        part.images_together = 2
    for found in (run._together(images), run._shared(images)):
        assert 1e-5 < np.abs(found - expected).max() / np.abs(expected).max() < 0.03


def test_a_network_in_bf16_with_parts_that_take_other_numbers_of_images(tmp_path):
    skip_without_bf16()
    model = used(create_model("ResNet20", width=0.5, operator="SPConv"), 3, 16, 16)
    model.eval()
    executor_of(ppeconv.deploy(model, [3, 16, 16], fusing_forms()), tmp_path, [3, 16, 16])
    run = Executor(tmp_path / "net", 2, "bf16")
    assert len(run._together.parts) > 1
    run._together.whole.images_together = 4
    images = np.random.default_rng(0).standard_normal((5, 3, 16, 16), np.float32)
    expected = model(paddle.to_tensor(images)).numpy()
    assert 1e-5 < np.abs(run(images) - expected).max() / np.abs(expected).max() < 0.05


@pytest.mark.parametrize(
    "name", ["VGG16Cifar", "LeNet", "MobileNetV2", "GhostNet", "ShuffleNetV1", "ShuffleNetV2", "SKNet50"]
)
def test_backbones(name, tmp_path):
    model = create_model(name, class_num=10)
    shape = list(model.image_shape) if name in ("VGG16Cifar", "LeNet") else [3, 64, 64]
    for layer in model.sublayers():
        if isinstance(layer, nn.BatchNorm2D):  # random weights make deep networks amplify rounding
            layer.weight.set_value(layer.weight * 0.5)
    model.eval()
    assert_same(model, executor_of(ppeconv.deploy(model, shape), tmp_path, shape), shape)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_that_share_the_images(threads, tmp_path, monkeypatch):
    monkeypatch.setattr("ppeconv.cpu.inference.executor._WORTH_SHARING", 0)
    model = used(create_model("ResNet20", width=0.5, operator="SPConv"), 3, 16, 16)
    model.eval()
    run = executor_of(ppeconv.deploy(model, [3, 16, 16]), tmp_path, [3, 16, 16], threads=threads)
    assert_same(model, run, [3, 16, 16], batches=(1, 7, 12))


FUNCTIONS = {
    "relu6": F.relu6,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "hardtanh": lambda x: F.hardtanh(x, -0.3, 0.4),
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
    "elu": lambda x: F.elu(x, 0.7),
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "swish": F.swish,
    "mish": F.mish,
    "clip": lambda x: x.clip(-0.2, 0.3),
    "scale": lambda x: 1 - 2 * x,
    "minus": lambda x: x - F.adaptive_avg_pool2d(x, 1),
    "quotient": lambda x: x / (1 + F.sigmoid(x)),
    "larger": lambda x: paddle.maximum(x, F.tanh(x)),
    "smaller": lambda x: paddle.minimum(F.tanh(x), x),
    "gate first": lambda x: F.sigmoid(F.adaptive_avg_pool2d(x, 1)) * x,
    "mean": lambda x: x.mean([2, 3]),
    "maximum of all": lambda x: F.adaptive_max_pool2d(x, 1),
    "max pooling": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max pooling, ceil": lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True),
    "max pooling, rest left out": lambda x: F.max_pool2d(x, 2, 2),
    "average with zeros": lambda x: F.avg_pool2d(x, 3, 2, 1, exclusive=False),
    "average without zeros": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "average with zeros, odd": lambda x: F.avg_pool2d(x, 5, 2, 2, exclusive=False),
    "average, ceil": lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True),
    "channels": lambda x: x[:, 2:5],
    "crop": lambda x: x[:, :, 1:-1, 2:],
    "halves": lambda x: paddle.concat(paddle.split(x, [2, 4], axis=1)[::-1], axis=1),
    "thirds": lambda x: paddle.concat(x.chunk(3, axis=1)[::-1], axis=1),
    "stacked": lambda x: paddle.concat([x, 2 * x], axis=2),
    "gathered": lambda x: x.index_select(paddle.to_tensor([3, 4, 0, 0, 5]), axis=1),
    "shuffled": lambda x: F.channel_shuffle(x, 3),
    "flat": lambda x: x.flatten(1),
    "shares": lambda x: F.softmax(x.flatten(1), axis=1),
    "enlarged": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, tmp_path):
    model = Calls(FUNCTIONS[name])
    assert_same(model, executor_of(model, tmp_path, [6, 9, 7]), [6, 9, 7])


LAYERS = {
    "grouped": lambda: nn.Conv2D(6, 12, 3, 2, 1, groups=2),
    "depthwise": lambda: nn.Conv2D(6, 12, 5, padding=2, groups=6),
    "dilated": lambda: nn.Conv2D(6, 7, 3, dilation=2, bias_attr=False),
    "uneven padding": lambda: nn.Conv2D(6, 7, 2, padding=[1, 0, 0, 1]),
    "same": lambda: nn.Conv2D(6, 7, 4, stride=2, padding="SAME"),
    "norm": lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm2D(6)),
    "prelu": lambda: nn.PReLU(6, init=0.3),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(6 * 9 * 7, 5), nn.ReLU(), nn.Linear(5, 3, bias_attr=False)),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.5), nn.Conv2D(6, 4, 1)),
    "dropout that scales": lambda: nn.Sequential(nn.Dropout(0.4, mode="downscale_in_infer"), nn.Conv2D(6, 4, 1)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, tmp_path):
    model = LAYERS[name]()
    assert_same(model, executor_of(model, tmp_path, [6, 9, 7]), [6, 9, 7])


def test_sums_gates_and_activations_are_done_by_convolutions(tmp_path):
    conv, other = nn.Conv2D(16, 16, 3, padding=1), nn.Conv2D(16, 16, 1)
    model = Calls(lambda x, one, two: F.relu(one(x) + F.hardswish(two(x)) + x), conv, other)
    run = executor_of(model, tmp_path, [16, 8, 8])
    (part,) = run._together.parts
    assert [step.kind for step in fused(part._graph, 1)] == ["convolution", "convolution"]
    assert_same(model, run, [16, 8, 8])


def test_few_images_go_through_the_network_as_a_whole(tmp_path):
    model = used(create_model("ResNet20", width=0.5), 3, 16, 16)
    model.eval()
    run = executor_of(ppeconv.deploy(model, [3, 16, 16]), tmp_path, [3, 16, 16], threads=1)
    line = run._together
    assert len(line.parts) > 1
    line.whole.images_together = 3
    images, used_parts = np.random.default_rng(0).standard_normal((4, 3, 16, 16), np.float32), []
    for part in (*line.parts, line.whole):
        part._plan = lambda batch, part=part, plan=part._plan: used_parts.append(part) or plan(batch)
    few, many = run(images[:3]), run(images)
    assert used_parts == [line.whole, *line.parts]
    np.testing.assert_allclose(few, many[:3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "cache"), [("2048K\n", 2 << 20), ("512K", 512 << 10), ("48M", 0), ("K", 0), (None, 0)]
)
def test_the_second_level_cache(text, cache, tmp_path):
    file = tmp_path / "size"
    if text:
        file.write_text(text, "utf-8")
    assert second_level_cache(file) == cache


@pytest.mark.parametrize(
    ("cache", "channels", "images"), [(1 << 20, 16, 16), (2 << 20, 16, 32), (4 << 20, 16, 32), (4 << 20, 256, 1)]
)
def test_a_large_cache_takes_more_images_where_weights_are_few(cache, channels, images, tmp_path, monkeypatch):
    monkeypatch.setattr(executor, "second_level_cache", lambda: cache)
    run = executor_of(nn.Conv2D(channels, channels, 3, padding=1), tmp_path, [channels, 32, 32], threads=1)
    assert run._together.whole.images_together == images


@pytest.mark.parametrize(("batch", "alone"), [(1, True), (2, False)])
def test_one_thread_alone_where_steps_are_short(batch, alone, tmp_path, monkeypatch):
    model, shape = nn.Sequential(nn.Conv2D(8, 8, 3, padding=1), nn.Flatten(), nn.Linear(2048, 4)), [8, 16, 16]
    run = executor_of(model, tmp_path, shape, threads=2)
    filters, rows = 9 * 8 * 8, 2048 * 4
    products, weights = 256 * filters + rows, filters + rows
    monkeypatch.setattr(executor, "_WORTH_WAKING", (products + 10 * weights) / 3 + 1)  # flattening is a step
    used_lines = []
    for line in (run._together, run._alone[0]):
        line.whole._plan = lambda count, line=line, plan=line.whole._plan: used_lines.append(line) or plan(count)
    assert_same(model, run, shape, (batch,))
    assert used_lines == [run._alone[0] if alone else run._together]


def test_a_result_that_is_read_twice_is_kept(tmp_path):
    conv = nn.Conv2D(16, 16, 3, padding=1)

    def forward(x, conv):
        y = conv(x)
        return F.relu(y) + F.sigmoid(y) * y.mean([2, 3], keepdim=True)

    model = Calls(forward, conv)
    assert_same(model, executor_of(model, tmp_path, [16, 8, 8]), [16, 8, 8])


def test_threads_are_those_asked_for_and_put_back(tmp_path):
    model = nn.Conv2D(3, 4, 3)
    before = openmp.threads()
    assert_same(model, executor_of(model, tmp_path, [3, 8, 8], threads=2), [3, 8, 8])
    assert openmp.threads() == before


def test_what_is_not_known_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="does not know the operation cumsum"):
        executor_of(Calls(lambda x: x.cumsum(1)), tmp_path, [3, 8, 8])


def test_several_outputs_are_a_sentence(tmp_path):
    with pytest.raises(UserError, match="gives one output, and this network has several"):
        executor_of(Calls(lambda x: (x + 1, x * 2)), tmp_path, [3, 8, 8])


def test_another_image_size_is_a_sentence(tmp_path):
    run = executor_of(nn.Conv2D(3, 4, 3), tmp_path, [3, 8, 8])
    with pytest.raises(UserError, match=r"takes images \[3, 8, 8\]; got \[3, 8, 9\]"):
        run(np.zeros((1, 3, 8, 9), np.float32))


def test_an_empty_batch(tmp_path):
    run = executor_of(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), tmp_path, [3, 2, 2])
    assert run(np.zeros((0, 3, 2, 2), np.float32)).shape == (0, 5)
