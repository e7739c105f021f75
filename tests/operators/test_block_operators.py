"""Operators that stand for a small block, against their definitions."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from ppeconv import UserError, create_operator
from ppeconv.operators.parts import average_pool, shuffle

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def norm(x):
    """A batch norm as it is made: no learned scale, statistics 0 and 1, in eval mode."""
    return x / np.sqrt(1 + 1e-5)


def conv(x, layer, stride=1, padding=0, groups=1):
    layer = getattr(layer, "conv", layer)
    return F.conv2d(x, layer.weight, layer.bias, stride, padding, groups=groups)


def built(operator, *arguments, **own):
    layer = create_operator(operator, *arguments, **own)
    layer.eval()
    for parameter in layer.parameters():
        if parameter.name.startswith("conv") and parameter.ndim == 1:
            parameter.set_value(paddle.randn(parameter.shape))
    return layer


def same(layer, x, expected):
    np.testing.assert_allclose(layer(x).numpy(), expected.numpy(), **CLOSE)


@pytest.mark.parametrize("stride", [1, 2])
def test_bottleneck(stride):
    layer, x = built("BottleneckConv", 8, 12, 3, stride, 1, reduction=3.0), paddle.randn([2, 8, 9, 8])
    first, second, last = layer.convs
    y = F.relu(norm(conv(x, first[0])))
    same(layer, x, conv(F.relu(norm(conv(y, second[0], stride, 1))), last))


@pytest.mark.parametrize(
    ("kernel", "form"), [(5, "stacked"), (7, "stacked"), (5, "asymmetric"), ((3, 5), "asymmetric")]
)
def test_small_kernels_make_a_large_one(kernel, form):
    """Without anything between and away from the border: one convolution with the composed kernel."""
    layer = built("KernelReplaceConv", 2, 3, kernel, form=form, between="none", bias_attr=False)
    rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
    impulses = paddle.eye(2).reshape([2, 2, 1, 1])
    response = layer(F.pad(impulses, [columns - 1] * 2 + [rows - 1] * 2))
    large = response.transpose([1, 0, 2, 3]).flip([2, 3])
    assert large.shape == [3, 2, rows, columns]
    x = paddle.randn([1, 2, 16, 17])
    x[:, :, :7], x[:, :, -7:], x[:, :, :, :7], x[:, :, :, -7:] = 0.0, 0.0, 0.0, 0.0
    same(layer, x, F.conv2d(x, large))


def test_three_by_three_stays_in_the_stacked_form():
    assert len(built("KernelReplaceConv", 4, 4, 3, form="stacked").convs) == 1


@pytest.mark.parametrize("stride", [1, 2])
def test_inception_naive(stride):
    layer = built("InceptionConv", 8, 16, 3, stride, 1, form="naive", widths=[3, 0, 5, 0, 4, 4])
    x = paddle.randn([2, 8, 9, 8])
    point, middle, large = layer.branches
    parts = [conv(x, point, stride), conv(x, middle, stride, 1), conv(x, large, stride, 2)]
    same(layer, x, paddle.concat([*parts, F.max_pool2d(x[:, :4], 3, stride, 1)], axis=1))


@pytest.mark.parametrize("form", ["reduced", "factorised"])
@pytest.mark.parametrize("stride", [1, 2])
def test_inception_reduced(form, stride):
    layer = built("InceptionConv", 8, 16, 3, stride, 1, form=form, widths=[3, 2, 5, 3, 4, 4])
    x = paddle.randn([2, 8, 9, 8])
    point, middle, large = layer.branches
    y = F.relu(norm(conv(x, large[0][0])))
    if form == "reduced":
        y = conv(y, large[1], stride, 2)
    else:
        y = conv(F.relu(norm(conv(y, large[1][0], 1, 1))), large[2], stride, 1)
    parts = [conv(x, point, stride), conv(F.relu(norm(conv(x, middle[0][0]))), middle[1], stride, 1), y]
    same(layer, x, paddle.concat([*parts, conv(F.max_pool2d(x, 3, stride, 1), layer.pool[1])], axis=1))


@pytest.mark.parametrize("stride", [1, 2])
def test_fire(stride):
    layer, x = built("FireConv", 8, 16, 3, stride, 1), paddle.randn([2, 8, 9, 8])
    narrow = F.relu(conv(x, layer.squeeze))
    same(layer, x, paddle.concat([conv(narrow, layer.expand1, stride), conv(narrow, layer.expand3, stride, 1)], axis=1))


def test_res2():
    layer, x = built("Res2Conv", 8, 12, 3, padding=1), paddle.randn([2, 8, 9, 8])
    splits = F.relu(norm(conv(x, layer.reduce[0]))).chunk(4, axis=1)
    y = [splits[0], F.relu(norm(conv(splits[1], layer.chain[0][0], 1, 1)))]
    for index in (2, 3):
        y.append(F.relu(norm(conv(splits[index] + y[-1], layer.chain[index - 1][0], 1, 1))))
    same(layer, x, conv(paddle.concat(y, axis=1), layer.expand))


def test_res2_with_a_stride_carries_nothing():
    layer, x = built("Res2Conv", 8, 12, 3, 2, 1, cardinality=3), paddle.randn([2, 8, 9, 8])
    first, *others = F.relu(norm(conv(x, layer.reduce[0]))).chunk(4, axis=1)
    y = [F.relu(norm(conv(part, link[0], 2, 1, groups=3))) for part, link in zip(others, layer.chain, strict=True)]
    means = F.avg_pool2d(first, 3, 2, 1, exclusive=False)
    same(layer, x, conv(paddle.concat([means, *y], axis=1), layer.expand))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_three_forms_of_aggregation_are_one_function(stride, training):
    arguments, own = ("AggregatedConv", 8, 12, 3, stride, 1), {"cardinality": 3, "path_width": 2}
    grouped, joined, branches = (
        built(*arguments, **own, form=form) for form in ("grouped", "concatenated", "branches")
    )
    for layer in (grouped, joined, branches):
        layer.train() if training else layer.eval()
    reduce, spatial = grouped.paths[0]
    for other in (joined, branches):
        for path, part in enumerate(other.paths):
            rows = slice(2 * path, 2 * path + 2)
            part[0][0].weight.set_value(reduce[0].weight[rows])
            part[1][0].weight.set_value(spatial[0].weight[rows])
    joined.expand[0].set_state_dict(grouped.expand[0].state_dict())
    branches.expand[0].bias.set_value(grouped.expand[0].bias)
    for path, expand in enumerate(branches.expand):
        expand.weight.set_value(grouped.expand[0].weight[:, 2 * path : 2 * path + 2])
    x = paddle.randn([4, 8, 9, 8])
    expected = grouped(x)
    same(joined, x, expected)
    same(branches, x, expected)


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_parallel_downsample(pool):
    layer, x = built("ParallelDownsample", 4, 12, 3, 2, 1, pool=pool), paddle.randn([2, 4, 9, 8])
    beside = F.max_pool2d(x, 3, 2, 1) if pool == "max" else F.avg_pool2d(x, 3, 2, 1)
    same(layer, x, paddle.concat([conv(x, layer.conv, 2, 1), beside], axis=1))


@pytest.mark.parametrize(("outputs", "stride"), [(24, 1), (36, 2), (36, 1), (12, 2)])
def test_shuffle_unit_v1(outputs, stride):
    layer, x = built("ShuffleUnitV1", 24, outputs, 3, stride, 1, conv_groups=3), paddle.randn([2, 24, 9, 8])
    y = shuffle(F.relu(norm(conv(x, layer.first[0], groups=3))), 3)
    y = norm(conv(y, layer.depthwise[0], stride, 1, groups=y.shape[1]))
    y = conv(y, layer.last, groups=3)
    if stride == 1 and outputs == 24:
        y = x + y
    elif stride == 2 and outputs > 24:
        y = paddle.concat([F.avg_pool2d(x, 3, 2, 1, exclusive=False), y], axis=1)
    same(layer, x, y)


NINTHS = np.array([[4, 6], [6, 9]]) / 9
"""Means of ones over a 3x3 window of stride 2, the padding counted: a corner has 4 pixels, an edge 6."""


def test_means_over_the_border_count_the_padding_where_the_published_code_does():
    ones = paddle.ones([1, 24, 4, 4])
    shuffle_unit = built("ShuffleUnitV1", 24, 36, 3, 2, 1)
    np.testing.assert_allclose(shuffle_unit(ones)[0, 5].numpy(), NINTHS, rtol=1e-6)
    res2 = built("Res2Conv", 24, 24, 3, 2, 1)
    np.testing.assert_allclose(res2.keep(ones)[0, 0].numpy(), NINTHS, rtol=1e-6)
    beside = built("ParallelDownsample", 24, 48, 3, 2, 1, pool="avg")
    np.testing.assert_allclose(beside(ones)[0, -1].numpy(), np.ones([2, 2]), rtol=1e-6)


def test_an_incomplete_window_is_the_mean_of_its_pixels():
    """What SPConv, CompConv and OctaveConv pool by their stride, at odd sizes."""
    assert (average_pool(paddle.ones([1, 1, 5, 4]), (2, 2)) == paddle.ones([1, 1, 3, 2])).all()


def test_shuffle_unit_v2():
    layer, x = built("ShuffleUnitV2", 8, 12, 3, padding=1), paddle.randn([2, 8, 9, 8])
    same(layer, x, shuffle(paddle.concat([x[:, :4], right_branch(layer.right, x[:, 4:], 1)], axis=1), 2))


def test_shuffle_unit_v2_with_a_stride():
    layer, x = built("ShuffleUnitV2", 8, 12, 3, 2, 1), paddle.randn([2, 8, 9, 8])
    left = conv(norm(conv(x, layer.left[0][0], 2, 1, groups=8)), layer.left[1])
    same(layer, x, shuffle(paddle.concat([left, right_branch(layer.right, x, 2)], axis=1), 2))


def right_branch(branch, x, stride):
    y = F.relu(norm(conv(x, branch[0][0])))
    return conv(norm(conv(y, branch[1][0], stride, 1, groups=y.shape[1])), branch[2])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 4, 8])
def test_selective_kernels(groups, stride):
    layer = built("SKConv", 8, 8, 3, stride, 1, 1, groups, branches=3, min_width=4)
    x = paddle.randn([2, 8, 11, 10])
    u = [
        F.relu(norm(F.conv2d(x, branch[0].conv.weight, None, stride, reach, reach, groups)))
        for reach, branch in enumerate(layer.branches, 1)
    ]
    z = F.relu(norm(conv(sum(u).mean([2, 3], keepdim=True), layer.fuse[0])))
    shares = F.softmax(paddle.stack([conv(z, select) for select in layer.select]), axis=0)
    np.testing.assert_allclose(shares.sum(0).numpy(), np.ones([2, 8, 1, 1]), rtol=1e-6)
    same(layer, x, (shares * paddle.stack(u)).sum(0))


def test_equal_branches_are_selected_as_one():
    layer, x = built("SKConv", 8, 8, 3, padding=1, min_width=4), paddle.randn([2, 8, 7, 7])
    for branch in layer.branches:
        centre = paddle.zeros([8, 8, 3, 3])
        centre[:, :, 1, 1] = layer.branches[0][0].conv.weight[:, :, 1, 1]
        branch[0].conv.weight.set_value(centre)
    same(layer, x, layer.branches[0](x))


@pytest.mark.parametrize(
    "operator", ["InceptionConv", "FireConv", "Res2Conv", "AggregatedConv", "ShuffleUnitV1", "ShuffleUnitV2"]
)
@pytest.mark.parametrize("stride", [1, 2])
def test_exactly_the_output_channels(operator, stride):
    for outputs in range(2, 12):
        layer = create_operator(operator, 5, outputs, 3, stride, 1)
        assert layer(paddle.randn([1, 5, 7, 7])).shape[1] == outputs


@pytest.mark.parametrize(
    ("operator", "arguments", "own", "words"),
    [
        ("BottleneckConv", (8, 8, 3), {"reduction": 0.5}, "a number from 1 to"),
        ("KernelReplaceConv", (8, 8, 4), {"form": "stacked"}, "square odd kernel"),
        ("KernelReplaceConv", (8, 8, (1, 3)), {}, "both sides above 1"),
        ("InceptionConv", (8, 8, 3), {"widths": [1, 2, 3]}, "widths should be a list of 6"),
        ("InceptionConv", (8, 8, 3), {"widths": [1, 1, 1, 1, 1, 1]}, "= 8 channels"),
        ("InceptionConv", (2, 9, 3), {"widths": [2, 0, 2, 0, 2, 3], "form": "naive"}, "at most the 2 input"),
        ("InceptionConv", (8, 8, 3), {"widths": [2, 0, 2, 0, 2, 2]}, "r3 and r5 above 0"),
        ("FireConv", (8, 8, 3), {"share": 1.0}, "above 0 and below 1"),
        ("FireConv", (8, 8, 3), {"squeeze": 0.0}, "above 0"),
        ("Res2Conv", (8, 8, 3), {"scale": 1}, "from 2 to 64"),
        ("Res2Conv", (8, 8, 3), {"cardinality": 3}, "divides the 2 channels"),
        ("AggregatedConv", (8, 8, 3), {"cardinality": 0}, "from 1 to"),
        ("ParallelDownsample", (8, 8, 3), {"share": 1.0}, "below 1"),
        ("ShuffleUnitV1", (8, 8, 3), {"conv_groups": 0}, "from 1 to"),
        ("SKConv", (8, 8, 3), {"branches": 0}, "from 1 to 16"),
        ("SKConv", (8, 8, 1), {}, "above 1x1"),
        ("MaskedVersatileConv", (8, 8, 1), {"secondaries": 0}, "from 1 to"),
        ("MaskedVersatileConv", (8, 8, 1), {"mask_lr": -1.0}, "from 0 to"),
        ("ShuffleUnitV2", (8, 8, 3, 2, "SAME"), {}, "does not depend on the input size"),
    ],
)
def test_refusals_are_sentences(operator, arguments, own, words):
    with pytest.raises(UserError, match=words):
        create_operator(operator, *arguments, **own)
