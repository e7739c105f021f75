"""The training loop and what is handed to it."""

import csv
import re

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from ppeconv import UserError, create_model
from ppeconv.config import dump, with_values
from ppeconv.data.batches import Batches, Pipeline
from ppeconv.data.datasets import Digits
from ppeconv.domains import Factor, Rate, RateOrZero
from ppeconv.engine import checkpoint
from ppeconv.engine.average import WeightAverage
from ppeconv.engine.evaluator import evaluate
from ppeconv.engine.listener import Listener
from ppeconv.engine.losses import CombinedLoss
from ppeconv.engine.results import COLUMNS, curves
from ppeconv.engine.schedules import scaled
from ppeconv.engine.step import Supervised
from ppeconv.engine.trainer import Trainer
from ppeconv.experiment import Experiment
from ppeconv.experiment.parts import Parts
from ppeconv.registry import LOSSES, OPTIMIZERS, SCHEDULES
from tests.support.memory import resident_megabytes
from tests.support.runs import digits_config, trained_run

NORMALIZE = [{"Normalize": {"mean": [0.3], "std": [0.34]}}]
CE = CombinedLoss([{"CELoss": {}}])


class Recorder(Listener):
    def __init__(self):
        self.steps, self.epochs = [], []

    def step_done(self, trainer, record):
        self.steps.append(record)

    def epoch_done(self, trainer, record):
        self.epochs.append(record)


def batches(size=64, split="train", **keywords):
    return Batches(Digits(".", split), Pipeline(NORMALIZE), size, **keywords)


def trainer(model=None, optimizer=None, strategy=None, data=None, epochs=1, **keywords):
    model = model or create_model("LeNet")
    optimizer = optimizer or paddle.optimizer.Momentum(
        paddle.optimizer.lr.LambdaDecay(0.02, lambda step: 1.0), parameters=model.parameters()
    )
    recorder = Recorder()
    made = Trainer(
        model,
        optimizer,
        strategy or Supervised(CE),
        data or batches(shuffle=True),
        lambda: evaluate(model, batches(256, "test"), CE, [1, 5], 10),
        epochs=epochs,
        listeners=[*keywords.pop("listeners", []), recorder],
        **keywords,
    )
    return made, recorder


def weights(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def test_loss_falls_and_accuracy_rises():
    run, record = trainer(epochs=2)
    progress = run.fit()
    losses = [step.loss for step in record.steps]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) / 2
    assert record.epochs[-1].eval_top1 > 0.85
    assert progress.step == len(losses) == 2 * 23
    assert progress.best_top1 == max(epoch.eval_top1 for epoch in record.epochs)


def test_max_steps_ends_the_run_and_still_evaluates():
    run, record = trainer(epochs=5, max_steps=3)
    run.fit()
    assert len(record.steps) == 3
    assert len(record.epochs) == 1
    assert record.epochs[0].eval_top1 is not None


def test_eval_interval():
    run, record = trainer(epochs=3, eval_interval=2)
    run.fit()
    assert [epoch.eval_top1 is not None for epoch in record.epochs] == [False, True, True]


def test_accumulated_gradients_equal_one_large_batch():
    states = []
    for size, update_freq in [(64, 1), (16, 4)]:
        paddle.seed(3)
        model = create_model("LeNet")
        run, _ = trainer(model, data=batches(size), max_steps=4, update_freq=update_freq)
        run.fit()
        states.append(weights(model))
    for name, value in states[0].items():
        np.testing.assert_allclose(value, states[1][name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_early_stop():
    model = create_model("LeNet")
    frozen = paddle.optimizer.SGD(paddle.optimizer.lr.LambdaDecay(0.0, lambda step: 1.0), model.parameters())
    run, record = trainer(model, frozen, epochs=50, early_stop=2)
    run.fit()
    assert len(record.epochs) == 3


def test_average_follows_its_formula_and_is_what_is_evaluated():
    model = nn.Linear(2, 1)
    average = WeightAverage(model, 0.9)
    expected = model.weight.numpy().copy()
    for step in range(1, 30):
        model.weight.set_value(np.random.randn(2, 1).astype("float32"))
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.numpy()
    present = model.weight.numpy().copy()
    with average.applied():
        np.testing.assert_allclose(model.weight.numpy(), expected, rtol=1e-5)
    assert (model.weight.numpy() == present).all()


def test_strategy_hooks_and_auxiliary_losses_come_from_outside():
    class Penalised(nn.Layer):
        def __init__(self):
            super().__init__()
            self.net = create_model("LeNet")
            self.scale = self.create_parameter([1], default_initializer=nn.initializer.Constant(2.0))
            self.updates = 0

        def forward(self, x):
            return self.net(x)

        def auxiliary_loss(self):
            return (self.scale**2).sum()

        def after_step(self):
            self.updates += 1

    model, seen = Penalised(), []
    optimizer = paddle.optimizer.SGD(paddle.optimizer.lr.LambdaDecay(0.1, lambda step: 1.0), model.parameters())
    run, record = trainer(model, optimizer, max_steps=3, after_step=[seen.append])
    run.fit()
    np.testing.assert_allclose(model.scale.numpy(), [2 * 0.8**3], rtol=1e-5)
    assert model.updates == len(seen) == 3
    assert record.steps[0].loss > 4

    def twice(model, images, labels, backward):
        for _ in range(2):
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            backward(loss)
        return loss, logits

    gradients = []
    for strategy in (Supervised(CE), twice):
        model = create_model("LeNet")
        model.set_state_dict(run.model.net.state_dict())
        run2, _ = trainer(model, strategy=strategy, max_steps=1, data=batches())
        run2.optimizer.clear_grad = lambda: None
        run2.fit()
        gradients.append(model.fc[4].weight.grad.numpy())
    np.testing.assert_allclose(2 * gradients[0], gradients[1], rtol=1e-5)


def test_distillation_is_cross_entropy_with_the_softened_teacher():
    teacher = create_model("LeNet")
    loss = LOSSES.create("DistillLoss", teacher=teacher, weight=0.5, temperature=3.0)
    images, logits = paddle.randn([4, 1, 28, 28]), paddle.randn([4, 10])
    target = F.softmax(teacher(images) / 3)
    expected = 9 * -(target * F.log_softmax(logits / 3)).sum(1).mean()
    np.testing.assert_allclose(float(loss(logits, None, images)), float(expected), rtol=1e-5)
    assert list(loss.parameters()) == []
    assert not teacher.training


def test_distillation_of_feature_maps_adds_what_they_differ_by():
    """Half of each map is a quarter of its mean square away, in the mean over the layers."""

    class Halved(nn.Layer):
        def __init__(self, share):
            super().__init__()
            self.share, self.first, self.second = share, nn.Identity(), nn.Identity()

        def forward(self, images):
            return self.second(self.share * self.first(self.share * images)).mean([2, 3])

    images, labels = paddle.randn([4, 10, 3, 3]), paddle.zeros([4, 1], "int64")
    terms = {"teacher": Halved(1.0), "layers": ["first", "second"], "layer_weight": 3.0}
    loss = CombinedLoss([{"DistillLoss": {**terms, "weight": 0.5}}])
    student = Halved(0.5)
    with loss.watching(student):
        logits = student(images)
        watched = loss(logits, labels, images)
    expected = 0.5 * 3 * (0.5**2 + 0.75**2) / 2
    np.testing.assert_allclose(float(watched - loss(logits, labels, images)), expected, rtol=1e-5)
    assert not any(layer._forward_post_hooks for layer in student.sublayers(include_self=True))


class LinearNet(nn.Layer):
    def __init__(self, channels):
        super().__init__()
        self.conv, self.fc = nn.Conv2D(1, channels, 3), nn.Linear(channels * 26**2, 10)
        self.spare = nn.Identity()

    def forward(self, images):
        return self.fc(self.conv(images).flatten(1))


@pytest.mark.parametrize(
    ("layers", "student", "words"),
    [
        (["cov"], LinearNet(4), r"LinearNet has no layer 'cov'; did you mean .*conv"),
        (["conv"], LinearNet(5), r"conv gives \[5, 26, 26\] in LinearNet and \[4, 26, 26\] in the teacher LinearNet"),
        (["spare"], LinearNet(4), "spare gives a NoneType in LinearNet and a NoneType in the teacher"),
        (["conv"], None, "not where AnyWidth trains several widths; leave its layers out"),
    ],
)
def test_layers_of_a_distillation_that_do_not_fit_are_refused(layers, student, words):
    loss = LOSSES.create("DistillLoss", teacher=LinearNet(4), layers=layers)
    with pytest.raises(UserError, match=words):
        loss.require_fit(list("0123456789"), [1, 28, 28], student)


def test_feature_maps_are_not_compared_in_evaluation(tmp_path):
    teacher = trained_run(tmp_path / "teacher", "Global.max_steps=1")
    losses = f"Loss.Eval=[{{DistillLoss: {{teacher: '{teacher.path}', layers: [features]}}}}]"
    with pytest.raises(UserError, match=r"compares feature maps in Loss\.Train alone"):
        trained_run(tmp_path / "student", losses, "Global.max_steps=1")


@pytest.mark.parametrize("mixtures", ["[]", "[{Mixup: {alpha: 0.2}}]"])
def test_training_learns_feature_maps(mixtures, tmp_path):
    teacher = trained_run(tmp_path / "teacher", "Global.max_steps=20")
    settings = ["Global.seed=5", f"DataLoader.Train.dataset.batch_transform_ops={mixtures}", "Global.epochs=3"]
    kernels = [Experiment.open(teacher.path).model.features[0].weight]
    for number, layers in enumerate(["[]", "[features.0]"]):
        losses = f"Loss.Train=[{{DistillLoss: {{teacher: '{teacher.path}', layers: {layers}, layer_weight: 30}}}}]"
        student = trained_run(tmp_path / str(number), losses, *settings, "Optimizer.lr.learning_rate=0.02")
        kernels.append(Experiment.open(student.path).model.features[0].weight)
    taught, alone, learned = (kernel.numpy() for kernel in kernels)
    assert np.abs(learned - taught).mean() < 0.9 * np.abs(alone - taught).mean()


def test_label_smoothing():
    logits, labels = paddle.randn([6, 10]), paddle.randint(0, 10, [6, 1])
    smooth = 0.9 * F.one_hot(labels[:, 0], 10) + 0.01
    expected = -(smooth * F.log_softmax(logits)).sum(1).mean()
    found = LOSSES.create("CELoss", epsilon=0.1)(logits, labels, None)
    np.testing.assert_allclose(float(found), float(expected), rtol=1e-5)


def test_a_diverging_run_says_where_and_what_to_do():
    model = create_model("LeNet")
    wild = paddle.optimizer.SGD(paddle.optimizer.lr.LambdaDecay(1e30, lambda step: 1.0), model.parameters())
    run, _ = trainer(model, wild)
    with pytest.raises(UserError, match=r"the loss became .* learning rate of 1e\+30; lower"):
        run.fit()


class Overflowing(nn.Layer):
    """A network whose second layer gives infinities for the images of one batch."""

    def __init__(self, wrong_at):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2D(1, 4, 3), nn.BatchNorm2D(4), nn.Linear(4, 10)
        self.calls, self.wrong_at = 0, wrong_at

    def forward(self, images):
        self.calls += self.training
        factor = 1e38 if self.training and self.wrong_at <= self.calls < self.wrong_at + 2 else 1.0
        return self.head(self.norm(self.conv(images * factor) * 1e3).mean([2, 3]))


def test_the_layer_where_numbers_go_bad_is_named():
    """The step is looked at again after it failed, so that two calls in a row are wrong."""
    paddle.seed(0)
    with pytest.raises(UserError, match=r"the loss became nan in epoch 1, step 3, first in the output of (conv|norm) "):
        trainer(Overflowing(3))[0].fit()


def test_weights_and_images_that_are_no_numbers_are_named():
    model = create_model("LeNet")
    name, last = list(model.named_parameters())[-1]
    last.set_value(paddle.full_like(last, float("nan")))
    with pytest.raises(UserError, match=f"in epoch 1, step 1, first in the weights {re.escape(name)}, at a"):
        trainer(model)[0].fit()
    pipeline = Pipeline([{"Normalize": {"mean": [0.3], "std": [0.34]}}])
    pipeline.transforms[-1].std = np.zeros(1, np.float32)
    with np.errstate(all="ignore"), pytest.raises(UserError, match="first in the images themselves"):
        trainer(data=Batches(Digits(".", "train"), pipeline, 64))[0].fit()


def test_a_gradient_that_is_no_number_is_named():
    class Root(CombinedLoss):
        def forward(self, logits, labels, images):
            return CE(logits, labels, images) + paddle.sqrt(logits - logits).sum()

    with pytest.raises(UserError, match=r"a gradient is not a finite number any more in epoch 1, step 1, first in the"):
        trainer(strategy=Supervised(Root([])))[0].fit()


@pytest.mark.parametrize("update_freq", [1, 2])
def test_bad_steps_are_left_out_as_if_they_had_not_been(update_freq):
    """Weights and statistics after a bad step are those before it; one more than allowed ends the run."""
    states = []

    class Watch(Recorder):
        def step_done(self, trainer, record):
            states.append({name: value.numpy().copy() for name, value in trainer.model.state_dict().items()})

        def step_left_out(self, trainer, reason):
            self.reason = reason
            states.append({name: value.numpy().copy() for name, value in trainer.model.state_dict().items()})

    paddle.seed(0)
    run, _ = trainer(Overflowing(4), skip_nonfinite=1, update_freq=update_freq)
    run.listeners.append(watch := Watch())
    progress = run.fit()
    assert (progress.left_out, progress.epoch) == (1, 1)
    assert re.match(r"the loss became nan in epoch 1, step \d, first in", watch.reason)
    assert all(np.isfinite(value).all() for state in states for value in state.values())
    for name, value in states[2].items():
        np.testing.assert_array_equal(states[3][name], value)
    paddle.seed(0)
    run, _ = trainer(Overflowing(4), update_freq=update_freq)
    with pytest.raises(UserError, match="the checkpoints are from before it"):
        run.fit()


def rates(name, steps_per_epoch=10, epochs=10, **arguments):
    schedule = SCHEDULES.create(name, steps_per_epoch, steps_per_epoch * epochs, **arguments)
    values = []
    for _ in range(steps_per_epoch * epochs):
        values.append(schedule())
        schedule.step()
    return np.array(values)


def test_schedules():
    step = np.arange(100)
    np.testing.assert_allclose(rates("Constant", learning_rate=0.1), 0.1)
    np.testing.assert_allclose(rates("Cosine", learning_rate=0.1), 0.05 * (1 + np.cos(np.pi * step / 100)), atol=1e-7)
    np.testing.assert_allclose(rates("Linear", learning_rate=0.1), 0.1 * (1 - step / 100), atol=1e-9)
    np.testing.assert_allclose(rates("Step", learning_rate=0.1, step_size=3), 0.1 * 0.1 ** (step // 30))
    piecewise = rates("Piecewise", decay_epochs=[3, 6], values=[0.1, 0.01, 0.001])
    np.testing.assert_allclose(piecewise, np.select([step < 30, step < 60], [0.1, 0.01], 0.001))
    cycle = rates("OneCycle", learning_rate=0.1)
    assert cycle.argmax() in range(28, 32)
    np.testing.assert_allclose([cycle[0], cycle.max()], [0.004, 0.1], rtol=1e-5)


@pytest.mark.parametrize(("steps", "peak"), [(100, 0.3), (57, 0.5), (3, 0.9), (10, 0.1), (2, 0.5), (1, 0.3)])
def test_one_cycle_is_paddles_where_that_is_defined(steps, peak):
    """Paddle's divides by zero where the peak falls on the first step."""
    make = {"learning_rate": 0.1, "peak": peak, "divide_factor": 10.0, "end_lr": 0.01}
    ours = SCHEDULES.create("OneCycle", 1, steps, **make)
    paddles = paddle.optimizer.lr.OneCycleLR(0.1, steps, 10.0, 0.01, peak) if peak * steps > 1 else None
    for step in range(steps):
        assert 0.01 - 1e-9 <= ours() <= 0.1 + 1e-9
        assert paddles is None or ours() == pytest.approx(paddles(), rel=1e-9)
        ours.step()
        if paddles and step < steps - 1:
            paddles.step()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Constant", {"learning_rate": 0.1}),
        ("Cosine", {"learning_rate": 0.1, "eta_min": 0.01, "warmup_epoch": 2}),
        ("Linear", {"learning_rate": 0.1, "end_lr": 0.01}),
        ("Step", {"learning_rate": 0.1, "step_size": 3}),
        ("Piecewise", {"decay_epochs": [3, 6], "values": [0.1, 0.01, 0.001], "warmup_epoch": 1}),
        ("OneCycle", {"learning_rate": 0.1, "end_lr": 1e-3}),
    ],
)
def test_scaling_multiplies_the_whole_curve(name, arguments):
    np.testing.assert_allclose(
        rates(name, **scaled(name, arguments, 4)), 4 * rates(name, **arguments), rtol=1e-6, atol=1e-9
    )


def test_scaling_goes_by_the_declared_types_of_a_schedule_of_ones_own(monkeypatch):
    SCHEDULES.names()
    monkeypatch.setattr(SCHEDULES, "_entries", dict(SCHEDULES._entries))
    monkeypatch.setattr(SCHEDULES, "_aliases", dict(SCHEDULES._aliases))

    @SCHEDULES.register(name="Own")
    def own(steps_per_epoch, steps, *, learning_rate: Rate, lowest: RateOrZero = 0.0, tops: list[Rate], longer: Factor):
        return None

    given = {"learning_rate": 0.1, "lowest": 0.01, "tops": [0.1, 0.2], "longer": 2.0}
    assert scaled("Own", given, 2) == {"learning_rate": 0.2, "lowest": 0.02, "tops": [0.2, 0.4], "longer": 2.0}


def test_learning_rate_for_another_number_of_images_per_update():
    batch, freq = "DataLoader.Train.sampler.batch_size=48", "Global.update_freq=2"
    config = digits_config("unused", batch, freq, "Global.auto_scale_lr=32")
    assert Parts(config).optimizer(create_model("LeNet"), 10).get_lr() == pytest.approx(3 * 2e-3)
    config = digits_config("unused", batch, freq)
    assert Parts(config).optimizer(create_model("LeNet"), 10).get_lr() == pytest.approx(2e-3)


@pytest.mark.parametrize("name", ["Constant", "Cosine", "Linear", "Step", "Piecewise"])
def test_warm_up_rises_linearly_and_keeps_the_epochs_of_the_steps(name):
    arguments = {
        "Piecewise": {"decay_epochs": [3, 6], "values": [0.1, 0.01, 0.001]},
        "Step": {"learning_rate": 0.1, "step_size": 3},
    }.get(name, {"learning_rate": 0.1})
    values = rates(name, warmup_epoch=2, **arguments)
    np.testing.assert_allclose(values[:20], 0.1 * np.arange(20) / 20, atol=1e-9)
    assert values[20] == pytest.approx(0.1)
    if name == "Piecewise":
        assert values[29] == pytest.approx(0.1)
        assert values[30] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("name", "decay"),
    [
        ("Momentum", {"regularizer": {"name": "L2", "coeff": 0.5}}),
        ("Adam", {"regularizer": {"name": "L2", "coeff": 0.5}}),
        ("AdamW", {"weight_decay": 0.5}),
    ],
)
def test_weight_decay_spares_what_it_should(name, decay):
    """With a zero gradient only the decayed parameters move."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1D(4), nn.Linear(4, 4))
    for bias in (model[0].bias, model[1].bias, model[2].bias):
        bias.set_value(paddle.ones([4]))
    schedule = SCHEDULES.create("Constant", 1, 1, learning_rate=0.1)
    optimizer = OPTIMIZERS.create(
        name, schedule, model, **decay, one_dim_param_no_weight_decay=True, no_weight_decay_name=["2.weight"]
    )
    before = weights(model)
    (sum((parameter * 0).sum() for parameter in model.parameters() if not parameter.stop_gradient)).backward()
    optimizer.step()
    moved = {key for key, value in weights(model).items() if (value != before[key]).any()}
    assert moved == {"0.weight"}


def test_clipping_bounds_the_norm_of_all_gradients():
    model = nn.Linear(8, 8)
    schedule = SCHEDULES.create("Constant", 1, 1, learning_rate=1.0)
    optimizer = OPTIMIZERS.create("Momentum", schedule, model, clip_norm=0.1)
    before = weights(model)
    (model(paddle.randn([4, 8])).sum() * 100).backward()
    optimizer.step()
    change = sum(((value - before[key]) ** 2).sum() for key, value in weights(model).items())
    assert change**0.5 == pytest.approx(0.1, rel=1e-3)


def test_optimizer_from_a_config():
    config = digits_config("unused")
    optimizer = Parts(config).optimizer(create_model("LeNet"), 10)
    assert isinstance(optimizer, paddle.optimizer.Adam)
    assert optimizer.get_lr() == pytest.approx(2e-3)


def test_run_folder(tmp_path):
    run = trained_run(tmp_path, "Global.ema=0.9", "Global.epochs=2")
    for name in (
        "config.yaml",
        "train.log",
        "results.csv",
        "curves.png",
        "best_model.pdparams",
        "latest.pdparams",
        "latest.pdopt",
        "latest.pdstates",
        "previous.pdparams",
    ):
        assert (run.path / name).stat().st_size > 0, name
    assert (run.path / "vdl" / "train" / "vdlrecords.1.log").is_file()
    with open(run.path / "results.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert (
        list(rows[0])
        == COLUMNS
        == ["epoch", "lr", "train_loss", "train_top1", "eval_loss", "eval_top1", "eval_top5", "ips", "seconds"]
    )
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert 0 < float(rows[0]["eval_top1"]) <= float(rows[0]["eval_top5"]) <= 1
    log = (run.path / "train.log").read_text("utf-8")
    assert "ips: " in log
    assert "eta: " in log
    assert f"visualdl --logdir {run.path / 'vdl'}" in log
    assert "remaining" in log
    assert "SPConv: 1 of 2 convolutions replaced" in log
    plain = paddle.load(str(run.path / "latest.pdparams"))
    assert all(isinstance(value, paddle.Tensor) for value in plain.values())
    assert plain.keys() == create_model("LeNet", operator="SPConv").state_dict().keys()
    assert Experiment.open(run.path).config.Arch.class_num == 10


def records(run, side):
    """Tags by kind of one side's VisualDL records, and their reader."""
    from visualdl import LogReader

    file = str(run.path / "vdl" / side / "vdlrecords.1.log")
    reader, kinds = LogReader(file_path=file), {}
    for tag, kind in reader.tags().items():
        kinds.setdefault(kind, set()).add(tag.removeprefix(f"{file}/").replace("%", "/"))
    return kinds, reader


def test_visualdl_records_hold_the_curves(tmp_path):
    """The same tag of both sides is one chart; VisualDL opens the first group, by its name."""
    run = trained_run(tmp_path, "Global.epochs=2")
    (train, _), (evaluated, reader) = (records(run, side) for side in ("train", "eval"))
    assert train["scalar"] == {f"step/{name}" for name in ("loss", "top1", "lr", "ips")} | {"epoch/loss", "epoch/top1"}
    assert evaluated["scalar"] == {"epoch/loss", "epoch/top1", "epoch/top5"}
    assert [point.id for point in reader.get_data("scalar", "epoch/top1")] == [1, 2]
    assert "hyper_parameters" in evaluated
    labels = Digits(".", "test").labels
    assert len(evaluated["image"]) == 8
    for tag in evaluated["image"]:
        number, name = tag.removeprefix("samples/").split()
        assert name == str(labels[int(number)])


def test_records_of_an_earlier_version_are_left_and_new_ones_begun(tmp_path):
    """They were one file for both sides."""
    run = trained_run(tmp_path, "Global.max_steps=23", "Global.epochs=2")
    old = run.path / "vdl" / "vdlrecords.1.log"
    (run.path / "vdl" / "train" / "vdlrecords.1.log").replace(old)
    (run.path / "vdl" / "eval" / "vdlrecords.1.log").unlink()
    parts = {suffix: checkpoint.read(run.path / f"latest{suffix}") for suffix in (".pdparams", ".pdopt", ".pdstates")}
    parts[".pdstates"]["listeners"]["VisualDL"] = {"size": old.stat().st_size}
    checkpoint.save(run.latest, parts)
    before = old.read_bytes()
    trained_run(tmp_path, "Global.epochs=2", "Global.checkpoints=auto")
    assert old.read_bytes() == before
    assert {"hyper_parameters", "image", "scalar"} == records(run, "eval")[0].keys() - {"meta_data"}


def test_curves_mark_the_best_epoch_and_count_whole_epochs():
    row = dict.fromkeys(COLUMNS, 0.5)
    figure = curves([{**row, "epoch": epoch, "eval_top1": top1} for epoch, top1 in ((1, 0.2), (2, 0.9), (3, 0.9))])
    figure.canvas.draw()
    for axes in figure.axes:
        assert all(float(tick) == int(tick) for tick in axes.get_xticks())
        lines = {line.get_label(): line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"}
        assert lines == ({} if axes.get_title() == "learning rate" else {"best: epoch 2": 2})
    assert curves([]).axes
    assert curves([{**row, "epoch": 1, "eval_top1": None}]).axes


def test_a_run_is_not_overwritten_unless_told(tmp_path):
    run = trained_run(tmp_path, "Global.max_steps=1")
    before = (run.path / "latest.pdparams").read_bytes()
    with pytest.raises(UserError, match=r"already holds a run; resume it with .*Global.overwrite=true"):
        trained_run(tmp_path, "Global.max_steps=1", "Global.seed=1")
    assert (run.path / "latest.pdparams").read_bytes() == before
    trained_run(tmp_path, "Global.max_steps=1", "Global.seed=1", "Global.overwrite=true")
    assert (run.path / "latest.pdparams").read_bytes() != before


def test_same_seed_same_weights(tmp_path):
    files = [trained_run(tmp_path / name, "Global.max_steps=5").path / "latest.pdparams" for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_this_machine_cannot_do_is_refused(tmp_path, monkeypatch):
    if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count():
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr("ppeconv.backend.lack_of_bf16", lambda: "this CPU does not compute in bf16")
    with pytest.raises(UserError, match="use_amp needs a GPU or a CPU that computes in bf16; this CPU does not"):
        trained_run(tmp_path, "AMP.use_amp=true")
    with pytest.raises(UserError, match="sees no GPU"):
        trained_run(tmp_path, "Global.device=gpu")
    assert not any(tmp_path.iterdir())


def test_the_fast_cpu_layers_train_alike(tmp_path):
    from ppeconv import backend

    if not backend.available()[0]:
        pytest.skip(backend.available()[1])
    losses = {}
    for choice in ("paddle", "onednn"):
        run = trained_run(tmp_path / choice, f"Global.cpu_backend={choice}", "Global.max_steps=10")
        with open(run.path / "results.csv", encoding="utf-8") as file:
            losses[choice] = float(next(csv.DictReader(file))["train_loss"])
        assert f"layers: {choice}: " in (run.path / "train.log").read_text("utf-8")
    assert losses["onednn"] == pytest.approx(losses["paddle"], rel=1e-3)


@pytest.mark.full
def test_memory_is_flat_over_ten_thousand_steps(tmp_path, monkeypatch):
    """With evaluations and checkpoints; what the allocator settles into at first is not counted."""
    used, close = [], Trainer._close_epoch

    def watched(self):
        close(self)
        used.append(resident_megabytes())

    monkeypatch.setattr(Trainer, "_close_epoch", watched)
    trained_run(tmp_path, "Global.epochs=500", "Global.max_steps=10000", "Global.eval_interval=20")
    assert len(used) > 400
    assert used[-1] <= used[len(used) // 4] + 8


def test_distilling_from_a_run(tmp_path):
    teacher = trained_run(tmp_path / "teacher", "Global.max_steps=20")
    losses = f"Loss.Train=[{{CELoss: {{weight: 0.5}}}}, {{DistillLoss: {{teacher: '{teacher.path}', weight: 0.5}}}}]"
    student = trained_run(tmp_path / "student", losses, "Global.max_steps=2", name="lenet_conv_digits")
    assert not any("teacher" in name for name in paddle.load(str(student.path / "latest.pdparams")))


def test_a_teacher_of_other_classes_or_images_is_refused(tmp_path):
    side = "DataLoader.{}.dataset.transform_ops=[{{Resize: {{size: 24}}}}, {{Normalize: {{mean: [0.3], std: [0.34]}}}}]"
    teacher = trained_run(tmp_path / "teacher", "Global.max_steps=1")
    losses = f"Loss.Eval=[{{DistillLoss: {{teacher: '{teacher.path}'}}}}]"
    for overrides, words in [
        (["Arch.class_num=12"], r"gives \[10\] scores for an image, and there are 12 classes"),
        (
            [side.format("Train"), side.format("Eval")],
            r"trained on images of \[1, 28, 28\], and these are \[1, 24, 24\]",
        ),
    ]:
        with pytest.raises(UserError, match=words):
            trained_run(tmp_path / "student", losses, *overrides, name="lenet_conv_digits")
    renamed = with_values(Experiment.open(teacher.path).config, {"Infer.class_names": list("jihgfedcba")})
    (teacher.path / "config.yaml").write_text(dump(renamed), encoding="utf-8")
    with pytest.raises(UserError, match=r"knows the classes .*'j', 'i'.*; take a teacher of the same classes"):
        trained_run(tmp_path / "student", losses, name="lenet_conv_digits")
    assert not (tmp_path / "student" / "lenet_conv_digits").exists()


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 7)), r"the teacher Sequential gives \[7\] scores"),
        (nn.Conv2D(3, 4, 1), r"the teacher Conv2D does not take images of \[1, 28, 28\]"),
    ],
)
def test_a_teacher_of_ones_own_is_tried(teacher, words):
    loss = LOSSES.create("DistillLoss", teacher=teacher)
    with pytest.raises(UserError, match=words):
        loss.require_fit(list("0123456789"), [1, 28, 28])


@pytest.mark.parametrize(("first", "is_told"), [("", True), ("{Resize: {}}, ", False)])
def test_an_image_size_that_no_transform_takes_is_told(first, is_told, tmp_path):
    side = f"DataLoader.Train.dataset.transform_ops=[{first}{{Normalize: {{mean: [0.3], std: [0.34]}}}}]"
    run = trained_run(tmp_path, "Global.max_steps=1", "DataLoader.image_size=28", side)
    log = (run.path / "train.log").read_text("utf-8")
    assert ("warning: DataLoader.image_size 28 changes nothing, as no transform leaves its size open" in log) is is_told
