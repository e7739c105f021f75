"""Warm starts: new layers fitted to the convolutions they replace, in networks and in runs."""

import numpy as np
import paddle
import pytest
from paddle import nn

import ppeconv
from ppeconv import UserError, backend, create_operator, replace_conv
from ppeconv.experiment import Experiment
from ppeconv.layers.statistics import by_batch, measure_statistics
from ppeconv.registry import OPERATORS
from ppeconv.surgery.fitting import fit, linear_parameters, relative_error

SIDE, CHANNELS = 6, 8


def images(count=16, channels=3, side=SIDE):
    return paddle.to_tensor(np.random.default_rng(0).standard_normal([count, channels, side, side]), "float32")


def network(bias=None):
    """Two convolutions with norms, in eval mode, its statistics those of its images."""
    paddle.seed(3)
    model = nn.Sequential(
        nn.Conv2D(3, CHANNELS, 3, padding=1, bias_attr=bias),
        nn.BatchNorm2D(CHANNELS),
        nn.ReLU(),
        nn.Conv2D(CHANNELS, CHANNELS, 3, padding=1, bias_attr=bias),
        nn.BatchNorm2D(CHANNELS),
        nn.ReLU(),
        nn.Conv2D(CHANNELS, CHANNELS, 3, padding=1, bias_attr=bias),
        nn.BatchNorm2D(CHANNELS),
        nn.AdaptiveAvgPool2D(1),
        nn.Flatten(),
        nn.Linear(CHANNELS, 4),
    )
    model.eval()
    measure_statistics(model, [images()])
    return model


def state(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_exact_where_the_operator_holds_the_kernel():
    model = network()
    before, expected = state(model), model(images()).numpy()
    model, report = replace_conv(model, "Conv2D", init="from_dense", images=images())
    np.testing.assert_array_equal(model(images()).numpy(), expected)
    assert all(row.fit.method == "exact" and row.fit.after <= 1e-5 for row in report.replaced)
    assert "carried over, exact" in str(report)
    np.testing.assert_array_equal(model[1]._mean.numpy(), before["1._mean"])


@pytest.mark.parametrize("operator", OPERATORS.names())
def test_every_operator_comes_nearer(operator):
    """From the weights it begins with to those of the fit."""
    paddle.seed(1)
    plain = nn.Conv2D(CHANNELS, CHANNELS, 3, padding=1)
    layer = create_operator(operator, CHANNELS, CHANNELS, 3, padding=1)
    x = paddle.nn.functional.relu(images(32, CHANNELS))
    inputs, targets = [x[:16], x[16:]], [plain(x[:16]).detach(), plain(x[16:]).detach()]
    done = fit(layer, inputs, targets, steps=60)
    assert done.after < 0.95 * done.before
    assert done.after == pytest.approx(relative_error(layer, inputs, targets), rel=1e-3)


def test_the_fast_layers_fit_too():
    """Concatenations among them, of which only a part of the inputs depends on the linear parameters."""
    if not backend.available()[0]:
        pytest.skip(backend.available()[1])
    x, layer = images(8, CHANNELS), create_operator("GhostConv", CHANNELS, CHANNELS, 3, padding=1)
    targets = [nn.Conv2D(CHANNELS, CHANNELS, 3, padding=1)(x).detach()]
    with backend.enabled():
        done = fit(layer, [x], targets, steps=10)
    assert done.after < done.before


def test_least_squares_reach_the_optimum():
    """Of a grouped convolution with a bias, as numpy finds it filter by filter."""
    paddle.seed(1)
    plain, layer = nn.Conv2D(4, 6, 3), create_operator("GroupConv", 4, 6, 3, conv_groups=2)
    x = images(8, 4)
    y = plain(x).detach()
    done = fit(layer, [x[:4], x[4:]], [y[:4], y[4:]], iterations=200, tolerance=0)
    assert done.method == "least squares"
    left = 0.0
    for group in range(2):
        columns = nn.functional.unfold(x[:, 2 * group : 2 * group + 2], 3).numpy().transpose(0, 2, 1).reshape(-1, 18)
        columns = np.concatenate([columns, np.ones([len(columns), 1])], axis=1).astype(np.float64)
        wanted = y.numpy()[:, 3 * group : 3 * group + 3].transpose(0, 2, 3, 1).reshape(-1, 3)
        solution = np.linalg.lstsq(columns, wanted, rcond=None)[0]
        left += np.square(columns @ solution - wanted).sum()
        weight = layer.conv.weight.numpy()[3 * group : 3 * group + 3].reshape(3, -1).T
        np.testing.assert_allclose(weight, solution[:-1], atol=1e-3)
    halves = y.numpy().reshape(2, 4, *y.shape[1:])
    spread = np.square(halves - halves.mean((1, 3, 4), keepdims=True)).sum()
    assert done.after == pytest.approx(np.sqrt(left / spread), rel=1e-4)


def test_which_parameters_are_linear():
    def names(layer):
        found = {id(value) for value in linear_parameters(layer, images(4, CHANNELS))}
        return {name for name, value in layer.named_parameters() if id(value) in found}

    make = lambda name, **own: create_operator(name, CHANNELS, CHANNELS, 3, padding=1, **own)  # noqa: E731
    assert names(make("HetConv")) == {"spatial.weight", "spatial.bias", "pointwise.conv.weight"}
    assert names(make("DepthwiseSeparableConv")) == {"convs.1.weight", "convs.1.bias"}
    assert names(make("GhostConv")) == {"cheap.weight", "cheap.bias"}
    assert names(make("SPConv")) == set()


def test_a_norm_behind_takes_the_means_out():
    """A layer without a bias cannot give an offset, and need not where a norm follows."""
    paddle.seed(1)
    plain, layer = nn.Conv2D(4, 4, 1), create_operator("Conv2D", 4, 4, 1, bias_attr=False)
    plain.bias.set_value(np.full([4], 5, np.float32))
    x, norm = images(16, 4), nn.BatchNorm2D(4)
    targets = [plain(x).detach()]
    assert fit(layer, [x], targets, norm).after < 1e-2
    norm._use_global_stats = True
    assert fit(layer, [x], targets, norm).after > 1


def test_the_network_behind_is_measured_anew_and_nothing_else_changes():
    model = network(bias=False)
    hooked, before = [], state(model)
    model[3].register_forward_post_hook(lambda *_: hooked.append(1))
    model, report = replace_conv(model, "GhostConv", init="from_dense", images=images(), rules={"include": ["3"]})
    after = state(model)
    for name in ("0.weight", "1._mean", "1._variance", "4.weight", "6.weight", "10.weight"):
        np.testing.assert_array_equal(after[name], before[name])
    assert not np.array_equal(after["7._mean"], before["7._mean"])
    (row,) = report.replaced
    assert row.fit.after < row.fit.before
    assert f"error {row.fit.before:.3f} -> {row.fit.after:.3f}" in str(row)
    inner = model[:4](images())
    np.testing.assert_allclose(model[4]._mean.numpy(), inner.mean([0, 2, 3]).numpy(), atol=1e-5)
    assert not any(layer.training for layer in model.sublayers(include_self=True))
    del hooked[:]
    model(images())
    assert hooked == [1]


def test_the_same_images_give_the_same_weights():
    def fitted():
        paddle.seed(5)
        model, report = replace_conv(network(), "SPConv", init="from_dense", images=images(8))
        return state(model), [row.fit for row in report.replaced]

    (one, fits), (other, again) = fitted(), fitted()
    assert_same(one, other)
    assert fits == again


def test_batches_and_shared_layers():
    """A convolution that runs twice is fitted to both of its inputs."""
    paddle.seed(1)
    shared = nn.Conv2D(4, 4, 3, padding=1)
    model = nn.Sequential(nn.Conv2D(3, 4, 1), shared, nn.ReLU(), shared)
    batches = [images(4).numpy(), images(6)]
    model, report = replace_conv(model, "GroupConv", init="from_dense", images=batches, conv_groups=2)
    assert model[1] is model[3]
    assert report.replaced[0].fit.method == "least squares"


def test_frozen_layers_stay_frozen_and_random_numbers_as_they_are():
    model = network()
    for parameter in model.parameters():
        parameter.stop_gradient = True
    model, _ = replace_conv(model, "GroupConv", init="from_dense", images=images(), conv_groups=2)
    assert all(parameter.stop_gradient for parameter in model.parameters())
    assert not any(parameter.grad is not None and parameter.grad.abs().sum() for parameter in model.parameters())


def test_layers_that_do_not_run_are_not_fitted():
    class Unused(nn.Layer):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Conv2D(3, 4, 3), nn.Conv2D(3, 4, 3)

        def forward(self, x):
            return self.used(x)

    rules = {"skip_first": False, "include": ["*used"]}
    _, report = replace_conv(Unused(), "Conv2D", rules, init="from_dense", images=images(2))
    assert [row.fit is None for row in report.rows] == [False, True]


def test_pairs_are_fitted_as_one():
    paddle.seed(1)
    model = nn.Sequential(
        nn.Conv2D(3, 8, 1), nn.Conv2D(8, 8, 3, padding=1, groups=8), nn.BatchNorm2D(8), nn.ReLU(), nn.Conv2D(8, 8, 1)
    )
    model.eval()
    expected = model(images())
    model, report = replace_conv(model, "Conv2D", {"pairs": True}, init="from_dense", images=images())
    (row,) = report.replaced
    assert row.fit.method == "least squares"
    assert row.fit.after < min(1, row.fit.before)
    spread = expected - expected.mean([0, 2, 3], keepdim=True)
    assert float((model(images()) - expected).norm() / spread.norm()) == pytest.approx(row.fit.after, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"init": "from_dense"}, "give some hundred of the training set"),
        ({"images": images(2)}, "give both or none"),
        ({"init": "dense", "images": images(2)}, "init should be 'from_dense'"),
        ({"init": "from_dense", "images": images(0)}, "there is none"),
        (
            {"init": "from_dense", "images": images(2)[0]},
            "images are .N, C, H, W. or batches of such; got one of shape",
        ),
        ({"init": "from_dense", "images": images(2) / 0.0}, "among those given are NaN or infinite ones"),
        ({"init": "from_dense", "images": [(images(2), paddle.zeros([2]))]}, "batches of such, without labels"),
        ({"init": "from_dense", "images": ["a.png"]}, "without labels; got 'a.png'"),
    ],
)
def test_what_cannot_be(arguments, sentence):
    model = network()
    before = state(model)
    with pytest.raises(UserError, match=sentence):
        replace_conv(model, "SPConv", **arguments)
    assert_same(state(model), before)


def test_other_number_formats_are_refused():
    with pytest.raises(UserError, match=r"in float32; this one is in paddle\.float64"):
        replace_conv(network().to(dtype="float64"), "SPConv", init="from_dense", images=images(2))


def test_flowing_octaves_are_refused():
    model = ppeconv.create_backbone("ResNet20", class_num=10, width=0.25)
    with pytest.raises(UserError, match="carries all weights over"):
        replace_conv(model, "OctaveConv", {"flow": True}, init="from_dense", images=images(2, side=32))


def test_a_network_that_fails_is_as_before():
    model = network()
    before = state(model)
    with pytest.raises(UserError, match=r"does not take images of \[5, 6, 6\]: .*channel"):
        replace_conv(model, "SPConv", init="from_dense", images=images(2, channels=5))
    assert_same(state(model), before)
    assert type(model[3]) is nn.Conv2D


def test_norms_by_batch_keep_what_they_know():
    model = network()
    before = state(model)
    with by_batch(model):
        model(images())
    assert_same(state(model), before)


OWN = {
    "Arch": {"name": "LeNet"},
    "Global": {"epochs": 1, "use_visualdl": False, "cpu_backend": "paddle"},
    "Optimizer": {"name": "Momentum", "lr": {"name": "Constant", "learning_rate": 1e-12}},
}


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, [24, 12, 12], np.uint8)
    return (pictures, np.arange(24) % 3), (pictures[:6], np.arange(6) % 3)


def test_a_run_starts_from_the_plain_network(data, tmp_path, monkeypatch):
    """With a learning rate of 0 it ends with what it was fitted to be; a resumed run is not fitted again."""
    plain = Experiment(OWN, data=data, folder=tmp_path / "plain")
    plain.train()
    warm = {**OWN, "Operator": {"name": "GroupConv", "init": "from_dense"}}
    with pytest.raises(UserError, match=r"Arch\.pretrained"):
        Experiment(warm, data=data, folder=tmp_path / "warm").train()
    warm["Arch"] = {"name": "LeNet", "pretrained": str(tmp_path / "plain")}
    run = Experiment(warm, data=data, folder=tmp_path / "warm")
    run.train()
    log = (tmp_path / "warm" / "train.log").read_text("utf-8")
    assert "least squares, error" in log
    assert "10 of the network's 10 arrays loaded" in log
    ours, theirs = state(run.model), state(plain.model)
    for name in ours.keys() & theirs.keys():
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6)
    monkeypatch.setattr("ppeconv.surgery.replace.warm_start", None)
    again = Experiment(warm, {"Global.epochs": 2, "Global.checkpoints": "auto"}, data=data, folder=tmp_path / "warm")
    assert len(again.train()) == 2
    now = state(again.model)
    for name in ours:
        np.testing.assert_allclose(now[name], ours[name], atol=1e-6)


def test_weights_of_another_network_are_no_start(data, tmp_path):
    other = Experiment({**OWN, "Operator": {"name": "SPConv"}}, data=data, folder=tmp_path / "other")
    other.train()
    warm = {**OWN, "Operator": {"name": "GroupConv", "init": "from_dense"}}
    warm["Arch"] = {"name": "LeNet", "pretrained": str(tmp_path / "other")}
    with pytest.raises(UserError, match="these weights are of another network"):
        Experiment(warm, data=data, folder=tmp_path / "warm").train()
    assert not (tmp_path / "warm" / "config.yaml").exists()


def test_ones_own_network_starts_from_its_own_weights(data, tmp_path):
    paddle.seed(2)
    model = nn.Sequential(nn.Conv2D(1, 4, 3), nn.ReLU(), nn.Conv2D(4, 4, 3), nn.AdaptiveAvgPool2D(1), nn.Flatten())
    model.add_sublayer("5", nn.Linear(4, 3))
    expected = model.eval()(images(4, 1, 12)).numpy()
    config = {key: value for key, value in OWN.items() if key != "Arch"}
    config["Operator"] = {"name": "Conv2D", "init": "from_dense"}
    Experiment(config, model=model, data=data, folder=tmp_path / "own").train()
    model.eval()
    np.testing.assert_allclose(model(images(4, 1, 12)).numpy(), expected, atol=1e-6)


def test_blocks_have_no_init(data):
    with pytest.raises(UserError, match=r"Operator\.init is for what replaces convolutions"):
        Experiment({**OWN, "Operator": {"name": "SE", "init": "from_dense"}}, data=data)


def test_weights_of_the_zoo_are_those_of_the_network_before_the_operator():
    settings = {"Operator.init": "from_dense", "Arch.pretrained": "zoo", "Infer.class_names": list("0123456789")}
    parts = Experiment("lenet_spconv_mnist", {**settings, "Infer.image_shape": [1, 28, 28]}).parts
    assert parts.starting_weights().path.parent.parent.name == "lenet_mnist"
