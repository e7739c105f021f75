"""Which of oneDNN's kernels are preferred, and that they compute the same."""

import itertools

import numpy as np
import paddle
import pytest

from ppeconv import backend
from ppeconv.cpu.library import kernels, onednn
from ppeconv.cpu.library.window import Geometry
from ppeconv.cpu.training import direct
from tests.support.runs import skip_without_bf16

pytestmark = pytest.mark.skipif(not backend.available()[0], reason=backend.available()[1])

SHAPES = [
    kernels.Shape(images, groups, outputs, inputs, is_pointwise, stride, columns, is_float32)
    for images, groups, outputs, inputs, is_pointwise, stride, columns, is_float32 in itertools.product(
        (1, 16), (1, 4), (1, 6, 8, 16, 24), (1, 3, 8, 32, 64), (False, True), (1, 2), (4, 8), (False, True)
    )
]
CHOICES = [kernels.forward, kernels.image_gradient, kernels.weight_gradient]


@pytest.fixture
def amd(monkeypatch):
    monkeypatch.setattr(kernels, "_were_measured", lambda: True)


@pytest.fixture
def another_maker(monkeypatch):
    monkeypatch.setattr(kernels, "_were_measured", lambda: False)


@pytest.mark.parametrize("choice", CHOICES)
def test_the_first_kernel_stands_where_nothing_was_measured(choice, another_maker):
    assert {choice(shape) for shape in SHAPES} == {()}


@pytest.mark.parametrize("choice", CHOICES)
def test_what_is_preferred_depends_on_the_shape_alone(choice, amd):
    found = [choice(shape) for shape in SHAPES]
    assert found == [choice(shape) for shape in SHAPES]
    assert 1 < len(set(found)) < len(SHAPES)


@pytest.mark.parametrize(
    ("vendor", "measured"), [("AuthenticAMD", True), ("GenuineIntel", False), ("HygonGenuine", False)]
)
def test_the_maker_of_the_cpu(vendor, measured, monkeypatch):
    monkeypatch.setattr(kernels, "cpu_facts", lambda: {"vendor_id": [vendor]})
    assert kernels._were_measured.__wrapped__() is measured


def test_a_system_that_does_not_tell(monkeypatch):
    monkeypatch.setattr(kernels, "cpu_facts", dict)
    assert kernels._were_measured.__wrapped__() is False


def recipe():
    image, result = onednn.channels_last([2, 16, 8, 8]), onednn.channels_last([2, 16, 8, 8])
    window = [onednn.int64s(pair) for pair in ([1, 1], [0, 0], [1, 1], [1, 1])]
    arguments = onednn.FORWARD_INFERENCE, onednn.CONVOLUTION_DIRECT, image
    return onednn.Recipe.of(
        "convolution_forward", *arguments, onednn.Layout([16, 16, 3, 3], None), None, result, *window
    )


def test_a_kernel_that_is_there_is_taken():
    first = recipe().implementation
    names = []
    while (name := recipe().passing_over(lambda it: it in names).implementation) not in names:
        names.append(name)
    for wanted in names:
        assert onednn.preferring(recipe, (wanted,)).implementation == wanted
    assert onednn.preferring(recipe, ()).implementation == first


def test_the_first_is_taken_where_the_preferred_is_not_there():
    assert onednn.preferring(recipe, ("no such kernel",)).implementation == recipe().implementation


@pytest.mark.parametrize("data_type", [onednn.FLOAT32, onednn.BFLOAT16])
@pytest.mark.parametrize("images", [1, 16])
@pytest.mark.parametrize(
    ("inputs", "outputs", "groups", "kernel", "stride"),
    [
        (3, 16, 1, 3, 1), (6, 16, 1, 5, 1), (1, 6, 1, 5, 1), (16, 32, 1, 3, 2), (16, 32, 1, 1, 2), (64, 128, 1, 1, 2),
        (32, 32, 1, 3, 1), (8, 16, 2, 3, 1), (16, 8, 1, 3, 1), (16, 8, 1, 1, 1), (16, 24, 1, 1, 1), (24, 24, 24, 3, 1),
        (24, 24, 24, 3, 2), (64, 64, 1, 3, 1),
    ],
)  # fmt: skip
def test_both_makers_kernels_agree(inputs, outputs, groups, kernel, stride, images, data_type, monkeypatch):
    if data_type == onednn.BFLOAT16:
        skip_without_bf16()
    sides = (stride, stride), (kernel // 2,) * 4, (1, 1)
    geometry = Geometry(
        (images, inputs, 8, 8), (outputs, inputs // groups, kernel, kernel), *sides, groups, False, 1, data_type
    )
    dtype = {onednn.FLOAT32: "float32", onednn.BFLOAT16: "bfloat16"}[data_type]
    n, m, height, width = geometry.result
    paddle.seed(0)
    image = paddle.randn([images, 8, 8, inputs]).astype(dtype)
    gradient = paddle.randn([n, height, width, m]).astype(dtype)
    weight = paddle.randn(geometry.weight)
    found = []
    for measured in (True, False):
        monkeypatch.setattr(kernels, "_were_measured", lambda measured=measured: measured)
        steps = direct.Steps(geometry)
        results = paddle.zeros_like(gradient), paddle.zeros_like(image), paddle.zeros_like(weight)
        operands = (image, weight), (gradient, weight), (image, gradient)
        for run, given, result in zip(
            (steps.forward, steps.image_gradient, steps.weight_gradient), operands, results, strict=True
        ):
            run(*(it.data_ptr() for it in (*given, result)))
        found.append([it.astype("float32").numpy() for it in results])
    tolerance = 1e-5 if data_type == onednn.FLOAT32 else 2e-2
    for one, other in zip(*found, strict=True):
        assert np.linalg.norm(one - other) <= tolerance * np.linalg.norm(other)
