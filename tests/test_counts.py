"""Parameters and MACs of every network, against the published and independently computed figures."""

import paddle
import pytest
from paddle import nn

import ppeconv
from ppeconv import backend, create_model

IMAGENET, CIFAR, GREY = [1, 3, 224, 224], [1, 3, 32, 32], [1, 1, 28, 28]
SPCONV = {"operator": "SPConv", "operator_args": {"ratio": 0.5}}
QUARTER = {"operator": "SPConv", "operator_args": {"ratio": 0.25}}


@pytest.mark.parametrize(
    ("name", "arguments", "size", "params", "macs"),
    [
        ("ResNet18", {}, IMAGENET, 11_689_512, 1_814_073_344),
        ("ResNet34", {}, IMAGENET, 21_797_672, 3_663_761_408),
        ("ResNet50", {}, IMAGENET, 25_557_032, 4_089_184_256),
        ("VGG16", {}, IMAGENET, 138_357_544, 15_470_264_320),
        ("VGG16", {"batch_norm": True}, IMAGENET, 138_365_992, 15_470_264_320),
        ("MobileNetV2", {}, IMAGENET, 3_504_872, 300_774_272),
        ("MobileNetV2", {"width": 0.35}, IMAGENET, 1_677_128, 59_285_808),
        ("MobileNetV2", {"width": 0.5}, IMAGENET, 1_968_680, 97_131_840),
        ("MobileNetV2", {"width": 0.75}, IMAGENET, 2_636_424, 209_069_792),
        ("MobileNetV2", {"width": 1.3}, IMAGENET, 5_386_792, 509_374_560),
        ("MobileNetV2", {"width": 1.4}, IMAGENET, 6_108_776, 582_195_824),
        ("ResNet18", {"class_num": 10, "stem": "cifar"}, CIFAR, 11_173_962, 555_422_720),
        ("ResNet34", {"class_num": 10, "stem": "cifar"}, CIFAR, 21_282_122, 1_159_402_496),
        ("ResNet50", {"class_num": 10, "stem": "cifar"}, CIFAR, 23_520_842, 1_297_829_888),
        ("ResNet20", {"shortcut": "A"}, CIFAR, 269_722, 40_551_040),
        ("ResNet20", {}, CIFAR, 272_474, 40_813_184),
        ("ResNet20", {"shortcut": "A", "class_num": 100}, CIFAR, 275_572, 40_556_800),
        ("ResNet32", {"shortcut": "A"}, CIFAR, 464_154, 68_862_592),
        ("ResNet32", {}, CIFAR, 466_906, 69_124_736),
        ("ResNet56", {"shortcut": "A"}, CIFAR, 853_018, 125_485_696),
        ("ResNet56", {}, CIFAR, 855_770, 125_747_840),
        ("ResNet110", {"shortcut": "A"}, CIFAR, 1_727_962, 252_887_680),
        ("ResNet110", {}, CIFAR, 1_730_714, 253_149_824),
        ("VGG16Cifar", {}, CIFAR, 14_991_946, 313_463_808),
        ("VGG16Cifar", {"head_layers": 1}, CIFAR, 14_728_266, 313_201_664),
        ("VGG16Cifar", {"head_layers": 1, "class_num": 100}, CIFAR, 14_774_436, 313_247_744),
        ("LeNet", {}, GREY, 61_610, 341_256),
        ("LeNet3C1L", {}, GREY, 40_522, 7_146_624),
        ("LeNet3C1L", {"in_channels": 3, "image_size": 32}, CIFAR, 43_978, 10_570_944),
        ("LeNet3C1L", {"width": 1.4142}, GREY, 76_870, 14_018_580),
        ("ResNet18", SPCONV, IMAGENET, 4_690_216, 743_116_800),
        ("ResNet50", SPCONV, IMAGENET, 18_345_448, 2_907_439_104),
        ("VGG16Cifar", SPCONV, CIFAR, 5_611_338, 114_496_512),
        ("VGG16Cifar", QUARTER, CIFAR, 3_772_746, 75_568_128),
        ("ResNet20", SPCONV, CIFAR, 105_082, 15_188_608),
        ("ResNet20", {"shortcut": "A", **SPCONV}, CIFAR, 102_330, 14_926_464),
        ("ResNet20", QUARTER, CIFAR, 71_674, 10_175_104),
        ("paddle.vision.resnet18", {}, IMAGENET, 11_689_512, 1_814_073_344),
        ("paddle.vision.models.squeezenet1_1", {}, IMAGENET, 1_235_496, 349_537_280),
    ],
)
def test_canonical_counts(name, arguments, size, params, macs):
    counts = ppeconv.count(create_model(name, **arguments), size)
    assert (counts.params, counts.macs) == (params, macs)


def test_paddleclas_network():
    pytest.importorskip("paddleclas.ppcls", reason="paddleclas is not installed")
    counts = ppeconv.count(create_model("paddleclas.ResNeXt50_32x4d"), IMAGENET)
    assert (counts.params, counts.macs) == (25_028_904, 4_230_479_872)


def test_rows_add_up_and_name_the_layers():
    counts = ppeconv.count(create_model("LeNet"), GREY)
    assert sum(row.params for row in counts.rows) == counts.params
    assert sum(row.macs for row in counts.rows) == counts.macs
    assert [row.path for row in counts.rows] == ["features.0", "features.3", "fc.0", "fc.2", "fc.4"]
    assert counts.rows[1].output == [1, 16, 10, 10]
    assert "341,256" in counts.table()


class _Functional(nn.Layer):
    """Convolves and multiplies without a layer that a hook could recognise."""

    def __init__(self):
        super().__init__()
        self.kernel = self.create_parameter([4, 3, 3, 3])
        self.matrix = self.create_parameter([4, 5])

    def forward(self, x):
        pooled = nn.functional.conv2d(x, self.kernel).mean([2, 3])
        scores = pooled @ self.matrix
        return scores.unsqueeze(1) @ scores.unsqueeze(2)


def test_functional_calls_are_counted_and_the_rest_is_listed():
    counts = ppeconv.count(_Functional(), [1, 3, 8, 8])
    assert counts.macs == 6 * 6 * 4 * 27 + 4 * 5 + 5
    assert counts.params == 4 * 27 + 20
    assert counts.uncounted["mean"] == 1


class _On(nn.Layer):
    """A function of the image [1, C, H, W], and perhaps layers."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.LayerList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


def steps(x):
    return x[:, 0]


A, B, MATRIX, STACK = (paddle.ones(shape) for shape in ([4, 6], [6, 5], [8, 7], [3, 8, 7]))


@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda x: paddle.matmul(x=x, y=MATRIX), 3 * 8 * 8 * 7),
        (lambda x: paddle.tensor.matmul(x, MATRIX), 3 * 8 * 8 * 7),
        (lambda x: paddle.matmul(x, y=MATRIX, transpose_x=True), 3 * 8 * 8 * 7),
        (lambda x: paddle.matmul(A, paddle.ones([5, 6]), transpose_y=True), 4 * 6 * 5),
        (lambda x: paddle.matmul(x=paddle.ones([6, 4]), y=B, transpose_x=True), 4 * 6 * 5),
        (lambda x: x @ STACK, 3 * 8 * 8 * 7),
        (lambda x: paddle.matmul(paddle.ones([7, 1, 3, 4]), paddle.ones([2, 4, 5])), 7 * 2 * 3 * 4 * 5),
        (lambda x: paddle.matmul(paddle.ones([4]), paddle.ones([4])), 4),
        (lambda x: paddle.mm(A, mat2=B), 4 * 6 * 5),
        (lambda x: paddle.bmm(x=steps(x), y=steps(x)), 8 * 8 * 8),
        (lambda x: paddle.mv(A, paddle.ones([6])), 4 * 6),
        (lambda x: paddle.dot(paddle.ones([6]), paddle.ones([6])), 6),
        (lambda x: paddle.addmm(input=paddle.ones([4, 5]), x=A, y=B), 4 * 6 * 5),
        (lambda x: paddle.inner(A, paddle.ones([3, 6])), 4 * 6 * 3),
        (lambda x: paddle.tensordot(A, B, 1), 4 * 6 * 5),
        (lambda x: paddle.einsum("nchw,wk->nchk", x, MATRIX), 3 * 8 * 8 * 7),
        (lambda x: paddle.einsum("...hw, wk -> ...hk", x, MATRIX), 3 * 8 * 8 * 7),
        (lambda x: paddle.einsum("ij,jk,kl->il", A, B, paddle.ones([5, 2])), 6 * 5 * 2 + 4 * 6 * 2),
        (lambda x: nn.functional.linear(x, weight=MATRIX), 3 * 8 * 8 * 7),
        (lambda x: nn.functional.conv2d(x=x, weight=paddle.ones([5, 3, 3, 3])), 6 * 6 * 5 * 27),
        (lambda x: nn.functional.conv2d(x, paddle.ones([6, 1, 3, 3]), groups=3), 6 * 6 * 6 * 9),
        (lambda x: nn.functional.conv1d(steps(x), paddle.ones([5, 8, 3])), 6 * 5 * 8 * 3),
        (lambda x: nn.functional.conv2d_transpose(x, paddle.ones([3, 5, 2, 2]), stride=2), 8 * 8 * 3 * 5 * 4),
        (
            lambda x: paddle.vision.ops.deform_conv2d(x, paddle.zeros([1, 18, 6, 6]), paddle.ones([5, 3, 3, 3])),
            6 * 6 * 5 * 27,
        ),
    ],
)
def test_products_are_counted_however_they_are_called(function, macs):
    assert ppeconv.count(_On(function), [1, 3, 8, 8]).macs == macs


@pytest.mark.parametrize(
    ("function", "listed"),
    [
        (lambda x: paddle.einsum("i,j->ij", paddle.ones([4]), paddle.ones([4])), "einsum"),
        (lambda x: paddle.einsum("ii->i", paddle.ones([4, 4])), "einsum"),
        (lambda x: paddle.linalg.multi_dot([A, B, paddle.ones([5, 2])]), "multi_dot"),
        (lambda x: nn.functional.bilinear(A, A, paddle.ones([2, 6, 6])), "bilinear"),
        (lambda x: paddle.tensor.abs(x), "abs"),
    ],
)
def test_what_is_not_counted_is_listed(function, listed):
    counts = ppeconv.count(_On(function), [1, 3, 8, 8])
    assert counts.macs == 0
    assert counts.uncounted[listed] >= 1
    assert listed in counts.table()


@pytest.mark.parametrize(("mode", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.SimpleRNN, 1)])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("direction", ["forward", "bidirect"])
def test_recurrent_layers(mode, gates, layers, direction):
    """gates * hidden * (inputs + hidden) for each step, layer and direction."""
    ways = 1 + (direction == "bidirect")
    recurrent = mode(8, 6, num_layers=layers, direction=direction)
    inputs = [8] + [6 * ways] * (layers - 1)
    counts = ppeconv.count(_On(lambda x, layer: layer(steps(x))[0], recurrent), [1, 3, 5, 8])
    assert counts.macs == 5 * ways * sum(gates * 6 * (given + 6) for given in inputs)
    assert counts.params == ways * sum(gates * 6 * (given + 6 + 2) for given in inputs)


def test_attention():
    """Four projections of 5 x 8 by 8 x 8, scores and values 5 x 5 x 8 each, however many heads."""
    attention = nn.MultiHeadAttention(8, 2)
    counts = ppeconv.count(_On(lambda x, layer: layer(steps(x)), attention), [1, 3, 5, 8])
    assert counts.macs == 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8
    dot = nn.functional.scaled_dot_product_attention
    counts = ppeconv.count(_On(lambda x: dot(x, x, x)), [3, 5, 8])  # [N, steps, heads, channels]
    assert counts.macs == 2 * 5 * 3 * 3 * 8


@pytest.mark.parametrize("kind", ["float64", "float16", "bfloat16"])
def test_any_float_type(kind):
    model = create_model("ResNet20", width=0.25)
    expected = ppeconv.count(model, CIFAR)
    model.to(dtype=kind)
    counts = ppeconv.count(model, CIFAR)
    assert (counts.params, counts.macs) == (expected.params, expected.macs)
    assert {str(value.dtype).removeprefix("paddle.") for value in model.parameters()} == {kind}


def test_counting_leaves_the_network_alone():
    model = create_model("ResNet20")
    model.train()
    model.layer1.eval()
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    modes = [layer.training for layer in model.sublayers(include_self=True)]
    with backend.disabled():
        conv = paddle._C_ops.conv2d
        ppeconv.count(model, [2, 3, 32, 32])
        assert paddle._C_ops.conv2d is conv
    assert modes == [layer.training for layer in model.sublayers(include_self=True)]
    assert all((before[name] == value.numpy()).all() for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ([1, 1, 8, 8], r"Conv2D does not take images of \[1, 8, 8\]: .*channel"),
        ([3, 8], r"input_size is \[N, C, H, W\]"),
    ],
)
def test_images_that_do_not_fit_are_a_sentence(size, words):
    with pytest.raises(ppeconv.UserError, match=words):
        ppeconv.count(paddle.nn.Conv2D(3, 4, 3), size)


def test_frozen_parameters_count():
    model = create_model("LeNet")
    for parameter in model.parameters():
        parameter.stop_gradient = True
    assert ppeconv.parameter_count(model) == 61_610
