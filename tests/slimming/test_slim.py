"""From a trained network and a budget to a network, with times that are made up: of a user's own and of a run."""

import json
import os
import re
import signal
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

import ppeconv
from ppeconv.benchmark.inference import InferenceSpeed
from ppeconv.choosing.sittings import How
from ppeconv.cli.main import main
from ppeconv.engine.interrupt import Stopped
from ppeconv.engine.lock import Lock
from ppeconv.engine.run import Run
from ppeconv.engine.trainer import Trainer
from ppeconv.errors import UserError
from ppeconv.experiment import Experiment
from ppeconv.slimming import learning
from ppeconv.slimming import search as searching
from ppeconv.slimming import slim as slim_module
from ppeconv.slimming.images import Images
from ppeconv.slimming.measurements import Chosen, Judged, Measurements, Spot, Whole
from ppeconv.slimming.options import Option, options
from ppeconv.slimming.pictures import draw_budget
from ppeconv.slimming.positions import groups, positions
from ppeconv.slimming.report import page
from ppeconv.slimming.search import Search
from ppeconv.slimming.shortlist import Outline, thinned
from ppeconv.slimming.slim import Slimmed
from ppeconv.surgery import fitting
from tests.support.measurements import FACTS
from tests.support.runs import trained_run


class Block(nn.Layer):
    def __init__(self, channels):
        super().__init__()
        self.a, self.n = nn.Conv2D(channels, channels, 3, padding=1, bias_attr=False), nn.BatchNorm2D(channels)
        self.b, self.m = nn.Conv2D(channels, channels, 3, padding=1, bias_attr=False), nn.BatchNorm2D(channels)

    def forward(self, x):
        return F.relu(x + self.m(self.b(F.relu(self.n(self.a(x))))))


class Own(nn.Layer):
    """A user's own network, with a branch."""

    def __init__(self):
        super().__init__()
        self.stem, self.body = nn.Conv2D(3, 8, 3, 2, 1), nn.Sequential(Block(8), Block(8))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.body(F.relu(self.stem(x))).mean([2, 3]))


def loader(count=4, size=12):
    random = np.random.default_rng(0)
    return [
        (random.standard_normal((8, 3, size, size)).astype("float32"), random.integers(0, 4, 8)) for _ in range(count)
    ]


@pytest.fixture
def made_up_times(monkeypatch, tmp_path):
    """A network takes as long as it has multiply-adds; fits are short, and the cache is a new folder."""
    measured = []

    def speeds(how, networks, times=0):
        measured.append([network.name for network in networks])
        first = networks[0].counts.macs
        return [
            InferenceSpeed(
                *(network.name, how.batch_size, how.runtimes[0], network.counts.params, network.counts.macs),
                network.counts.macs / first,
                median_ms=network.counts.macs / first * 10,
                p90_ms=1.0,
                images_per_second=1.0,
                peak_mib=1.0,
                time_ratio=network.counts.macs / first,
            )
            for network in networks
        ]

    def alone(layers, shape):
        return {name: 1.0 + ppeconv.count(layer, [1, *shape]).macs for name, layer in layers.items()}

    adam = fitting._adam
    monkeypatch.setattr(
        fitting, "_adam", lambda layer, trained, data, steps, *rest: adam(layer, trained, data, 3, *rest)
    )
    monkeypatch.setattr(How, "measure", speeds)
    monkeypatch.setattr(searching, "alone_on", lambda *_: alone)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return measured


SMALL = {"images": 16, "held_out": 16, "say": lambda line: None}


def test_positions_of_a_network():
    found = positions(Own(), [3, 12, 12], keep=["body.1.a"])
    assert [it.path for it in found] == ["body.0", "body.0.a", "body.0.b", "body.1.b"]
    assert found[0].inside == ["body.0.a", "body.0.b"]
    assert [it.path for it in positions(Own(), [3, 12, 12], keep=["body.0"])] == ["body.1", "body.1.a", "body.1.b"]
    assert {name: len(group) for name, group in groups(found).items()} == {
        "Block 8->8 (8 inside) on 6x6": 1,
        "3x3 8->8 on 6x6": 3,
    }
    assert {it.name for it in options(found[0])} == {"NarrowBranch", "NoBranch"}
    assert {str(it) for it in options(found[1], ["SPConv", "nobranch"])} >= {"SPConv (ratio: 0.5)"}


def test_a_pattern_of_what_is_kept_that_matches_no_layer_is_named():
    for pattern in ("body.7.*", ""):
        with pytest.raises(UserError, match=f"{re.escape(repr(pattern))} of what is kept matches no layer"):
            positions(Own(), [3, 12, 12], keep=["body.1.a", pattern])


def test_the_shortlist_is_the_front_without_what_bends_it_least():
    rows = [(1.0, 0.9), (2.0, 0.5), (3.0, 0.49), (4.0, 0.2), (5.0, 0.3), (6.0, 0.1)]
    outlines = [Outline(Option(str(number)), *row) for number, row in enumerate(rows)]
    assert [it.option.name for it in thinned(outlines, 5)] == ["0", "1", "2", "3", "5"]
    assert [it.option.name for it in thinned(outlines, 4)] == ["0", "1", "3", "5"]
    assert [it.option.name for it in thinned(outlines, 1)] == ["0"]


def test_an_own_network(made_up_times):
    net = Own()
    net.eval()
    before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    result = ppeconv.slim(net, loader(), budget=0.6, operators=["GroupConv", "NarrowBranch", "NoBranch"], **SMALL)
    assert result.measured_ms <= 0.6 * 10 * 1.0001
    assert abs(result.error) < 0.1
    assert ppeconv.count(result.model, [1, 3, 12, 12]).macs == result.chosen.macs
    assert all(np.array_equal(value, net.state_dict()[name].numpy()) for name, value in before.items())
    rebuilt = Own()
    rebuilt.eval()
    for entry in result.operators:
        own = dict(entry)
        rebuilt = put(rebuilt, own.pop("name"), own.pop("rules"), own)
    rebuilt.set_state_dict(result.model.state_dict())
    x = paddle.randn([2, 3, 12, 12])
    assert (rebuilt(x) == result.model(x)).all()


def put(model, name, rules, own):
    from ppeconv.models.create import apply_operator

    return apply_operator(model, name, rules, [1, 3, 12, 12], **own)[0]


def test_the_same_seed_gives_the_same_network(made_up_times):
    net = Own()
    net.eval()
    first, second = (
        ppeconv.slim(net, loader(), budget=0.7, operators=["GhostConv"], seed=3, **SMALL).model for _ in range(2)
    )
    assert all((value == second.state_dict()[name]).all() for name, value in first.state_dict().items())


def test_what_was_fitted_and_measured_is_not_again(made_up_times, monkeypatch, tmp_path):
    net = Own()
    net.eval()
    fits, real = [], learning.fit
    arguments = {"operators": ["GroupConv", "NoBranch"], "folder": tmp_path / "kept", **SMALL}

    def fit(layer, *others, **settings):
        fits.append(layer)
        if len(fits) == 3:
            raise KeyboardInterrupt
        return real(layer, *others, **settings)

    monkeypatch.setattr(learning, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        ppeconv.slim(net, loader(), budget=0.6, **arguments)
    measured = len(made_up_times)
    monkeypatch.setattr(learning, "fit", lambda *given, **settings: fits.append(given[0]) or real(*given, **settings))
    went_on = ppeconv.slim(net, loader(), budget=0.6, **arguments)
    assert len(made_up_times) == measured + 1  # the choice as a whole
    done = len(fits)
    again = ppeconv.slim(net, loader(), budget=0.6, **arguments)
    assert len(fits) == done
    assert len(made_up_times) == measured + 1
    whole = ppeconv.slim(net, loader(), budget=0.6, **{**arguments, "folder": None})
    for other in (again, whole):
        states = went_on.model.state_dict()
        assert all((value == states[name]).all() for name, value in other.model.state_dict().items())


def test_the_time_of_runs_that_were_stopped_counts(made_up_times, tmp_path):
    net, lines = Own(), []
    net.eval()
    arguments = {"budget": 0.7, "operators": ["GroupConv"], "folder": tmp_path, **SMALL | {"say": lines.append}}
    ppeconv.slim(net, loader(), **arguments)
    (kept,) = (file for file in tmp_path.glob("*.json") if "seconds" in json.loads(file.read_text()))
    content = json.loads(kept.read_text())
    assert set(content["seconds"]) == {"shortlist", "measure", "fit"}
    kept.write_text(json.dumps({**content, "seconds": {"fit": 5000.0}}))
    ppeconv.slim(net, loader(), **arguments)
    kept.write_text("{}")
    ppeconv.slim(net, loader(), **arguments)
    first, second, third = (int(line.split()[1]) for line in lines if line.startswith("fit: "))
    assert second >= 5000 > max(first, third)


def test_the_network_as_it_was_takes_the_same_whatever_else_was_measured(made_up_times, monkeypatch, tmp_path):
    net, speeds = Own(), How.measure
    net.eval()

    def on_a_machine_that_becomes_busy(how, networks, times=0):
        slower = 1 if any("GroupConv" in network.name for network in networks) else 3
        return [replace(row, median_ms=slower * row.median_ms) for row in speeds(how, networks, times)]

    monkeypatch.setattr(How, "measure", on_a_machine_that_becomes_busy)
    arguments = {"budget": 0.7, "folder": tmp_path, **SMALL}
    first, other, again = (
        ppeconv.slim(net, loader(), **arguments, operators=[name]) for name in ("GroupConv", "SPConv", "GroupConv")
    )
    assert [it.measurements.plain_ms for it in (first, other, again)] == [10.0, 30.0, 10.0]
    assert again.chosen == first.chosen


def test_measuring_again_makes_the_shortlist_again(made_up_times, monkeypatch, tmp_path):
    net, timed, alone = Own(), [], searching.alone_on
    net.eval()
    monkeypatch.setattr(searching, "alone_on", lambda *how: lambda *given: timed.append(given) or alone(*how)(*given))

    def known_before(again):
        timed.clear()
        how = How(("paddle",), 1, 1, "deployed", 1)
        search = Search(net, Images.of(loader(), 16, 16), how, ["GroupConv"], folder=tmp_path, again=again)
        known = set(search.seconds)
        search.measurements()
        return known, bool(timed)

    assert known_before(False) == (set(), True)
    assert known_before(False) == ({"shortlist", "measure", "fit"}, False)
    assert known_before(True) == ({"fit"}, True)


def test_damaged_fits_are_made_again(made_up_times, monkeypatch, tmp_path):
    net, fits, real = Own(), [], learning.fit
    net.eval()
    monkeypatch.setattr(learning, "fit", lambda *given, **settings: fits.append(given[0]) or real(*given, **settings))
    arguments = {"budget": 0.7, "operators": ["GroupConv"], "folder": tmp_path, **SMALL}
    states = ppeconv.slim(net, loader(), **arguments).model.state_dict()
    done = len(fits)
    whole, number = sorted(tmp_path.glob("*.safetensors"))[:2]
    payload = whole.read_bytes()
    whole.write_bytes(payload[:-1] + bytes([payload[-1] ^ 64]))
    for listed in tmp_path.glob("*.json"):
        if "options" in (content := json.loads(listed.read_text())):
            listed.write_text(json.dumps({**content, "options": [{"name": "SPConf"}]}))
    number.with_suffix(".json").write_text(number.with_suffix(".json").read_text()[:-9])
    again = ppeconv.slim(net, loader(), **arguments).model.state_dict()
    assert len(fits) == done + 2
    assert all((value == states[name]).all() for name, value in again.items())
    assert whole.read_bytes() == payload


def test_another_loss_has_fits_of_its_own(made_up_times, tmp_path):
    def rises(weight, folder):
        net = Own()
        net.eval()
        arguments = SMALL | {"loss": lambda output, labels: weight * F.cross_entropy(output, labels)}
        found = ppeconv.slim(net, loader(), budget=0.8, operators=["GroupConv"], folder=folder, **arguments)
        return [it.rise for it in found.chosen.options.values()]

    paddle.seed(0)
    first = rises(1.0, tmp_path / "a")
    paddle.seed(0)
    assert rises(100.0, tmp_path / "a") == pytest.approx([100 * it for it in first], rel=1e-3)


def test_one_call_at_a_time_works_in_a_folder(tmp_path):
    with Lock(tmp_path / "slim.lock", "", "") as other:
        other.take()
        with pytest.raises(UserError, match=r"slim is at work in .* already \(process \d+ .*take another folder"):
            ppeconv.slim(Own(), loader(), budget=0.5, folder=tmp_path, **SMALL)


def test_a_fit_without_numbers_is_left_out(made_up_times, monkeypatch, tmp_path):
    rises = iter([float("nan")] + [0.01] * 99)
    monkeypatch.setattr(learning, "_rise", lambda *given: next(rises))
    net = Own()
    net.eval()
    lines = []
    ppeconv.slim(net, loader(), budget=0.8, operators=["GroupConv"], folder=tmp_path, **SMALL | {"say": lines.append})
    assert [line for line in lines if "not finite" in line] == [
        "body.0.a: GroupConv is left out, as its fit gives numbers that are not finite"
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "give one budget"),
        ({"budget": 0.5, "budget_ms": 1.0}, "give one budget"),
        ({"budget": 0.001, "operators": ["GroupConv"]}, "the fastest possible takes"),
        ({"budget": 0.5, "operators": ["SPConf"]}, "did you mean 'SPConv'"),
        ({"budget": 0.5, "operators": ["SE"]}, "SE stands in place of no convolution"),
        ({"budget": 0.5, "operators": ["conv2d"]}, "conv2d is what stands there"),
        ({"budget": 0.5, "keep": ["*"]}, "Own has nothing that could be replaced"),
        ({"budget": 0.5, "runtime": "padle"}, "did you mean 'paddle'"),
        ({"budget": 50}, "budget should be a number above 0 and at most 1; got 50"),
        ({"budget": float("nan")}, "budget should be a number above 0"),
        ({"budget": "0.5"}, "budget should be a number above 0"),
        ({"budget_ms": -1.0}, "budget_ms should be a number above 0"),
        ({"budget": 0.5, "batch_size": 0}, "batch_size should be an integer from 1"),
        ({"budget": 0.5, "threads": -1}, "threads should be an integer from 1 to 1,024; got -1"),
        ({"budget": 0.5, "rounds": 0}, "rounds should be an integer from 1"),
        ({"budget": 0.5, "images": 0}, "images should be an integer from 1"),
        ({"budget": 0.5, "held_out": 0}, "held_out should be an integer from 1"),
    ],
)
def test_mistakes_are_sentences(arguments, words, made_up_times):
    with pytest.raises(UserError, match=words):
        ppeconv.slim(Own(), loader(), **SMALL | arguments)


def test_images_and_labels_of_another_network_are_sentences(made_up_times):
    grey = [(images[:, :1], labels) for images, labels in loader()]
    with pytest.raises(UserError, match=r"Own does not take images of \[1, 12, 12\]"):
        ppeconv.slim(Own(), grey, budget=0.5, **SMALL)
    shifted = [(images, labels + 2) for images, labels in loader()]
    with pytest.raises(UserError, match="labels are from 0 to 3 for this network; got some from 2 to 5"):
        ppeconv.slim(Own(), shifted, budget=0.5, **SMALL)


def test_images_of_a_loader():
    found = Images.of(loader(3), 8, 10)
    assert ([len(it) for it in found.fitting], [len(names) for _, names in found.held_out]) == ([8], [10])
    found = Images.of(loader(3), 100, 100)
    assert (sum(map(len, found.fitting)), sum(len(names) for _, names in found.held_out)) == (8, 16)
    assert str(Images.of(loader(3), 26, 8)) == "16 images to fit on, 8 to judge by"
    for wrong in ([], [np.zeros((2, 3, 4, 4))], [(np.zeros((4, 5)), np.zeros(4))]):
        with pytest.raises(UserError):
            Images.of(wrong)


@pytest.fixture
def digits_run(tmp_path):
    return trained_run(
        tmp_path / "digits", "Global.max_steps=20", "Global.use_visualdl=false", name="lenet_conv_digits"
    )


def test_a_run_gives_folders_that_train_and_are_what_was_made(digits_run, made_up_times, tmp_path, capsys):
    out = tmp_path / "slim"
    common = ["slim", "--run", str(digits_run.path), "--output", str(out), "--images", "32", "--held-out", "32"]
    common += ["--operators", "GroupConv,SPConv", "-o", "Global.epochs=12"]
    assert main([*common, "--budget", "0.9", "0.7"]) == 0, capsys.readouterr().err
    text = (out / "0.7" / "report.md").read_text("utf-8")
    assert re.search(r"\| top-1, evaluation images \| \d", text)
    assert f"tools/train.py -c {out / '0.7' / 'config.yaml'}" in text
    for picture in ("budget.png", "depth.png"):
        assert (out / "0.9" / picture).is_file()
    built = Experiment(str(out / "0.7" / "config.yaml"))
    rate, of_start = (it.config.Optimizer.lr.arguments for it in (built, Experiment.open(str(digits_run.path))))
    assert (built.config.Global.epochs, rate["learning_rate"]) == (3, of_start["learning_rate"])
    measured = Measurements.read(out / "measurements.json")
    assert ppeconv.count(built.model, [1, 1, 28, 28]).macs == measured.choose(0.7 * measured.plain_ms).macs
    before = (out / "0.7" / "init.safetensors").read_bytes()
    state = {name: value.numpy() for name, value in built.model.state_dict().items()}
    count = len(made_up_times)
    again = [*common, "--measurements", str(out / "measurements.json"), "--budget", "0.7"]
    assert main(again) == 0, capsys.readouterr().err
    assert len(made_up_times) == count
    assert (out / "0.7" / "init.safetensors").read_bytes() == before
    assert all((value == built.model.state_dict()[name].numpy()).all() for name, value in state.items())
    capsys.readouterr()
    refused = [*common, "--measurements", str(out / "measurements.json"), "--budget", "0.01", "0.8"]
    assert main(refused) == 2
    assert (out / "0.8" / "config.yaml").is_file()
    assert "the fastest possible takes" in capsys.readouterr().err
    others = json.loads((out / "measurements.json").read_text())
    others["facts"]["weights"] = "of another training"
    (tmp_path / "others.json").write_text(json.dumps(others))
    assert main([*common, "--measurements", str(tmp_path / "others.json"), "--budget", "0.7"]) == 2
    assert "are of other weights than those of" in capsys.readouterr().err
    others = json.loads((out / "measurements.json").read_text())
    options = [it for spot in others["spots"] for it in spot["judged"]]
    for name, arguments, reason in (("NoBranch", "", "it is no operator"), ("GroupConv", "conv_groups: 7", "7")):
        options[-1] |= {"name": name, "arguments": arguments}
        (tmp_path / "others.json").write_text(json.dumps(others))
        assert main([*common, "--measurements", str(tmp_path / "others.json"), "--budget", "0.7"]) == 2
        said = capsys.readouterr().err
        assert "where it cannot stand: " in said
        assert reason in said
    assert main([*again, "--batch-size", "64"]) == 2
    assert "batch size 1, threads" in capsys.readouterr().err
    with Lock(out / "fits" / "slim.lock", "", "") as other:
        other.take()
        assert main(again) == 2
    assert "slim is at work in" in capsys.readouterr().err
    foreign = tmp_path / "notes"
    foreign.mkdir()
    (foreign / "measurements.json").write_text("mine")
    assert main([*again[:3], "--output", str(foreign), *again[5:]]) == 2
    assert "holds files that are not of slim" in capsys.readouterr().err
    assert main([*again[:3], "--output", os.fsdecode(b"\xff"), *again[5:]]) == 2
    assert "which are UTF-8; give names that are" in capsys.readouterr().err
    assert [file.name for file in foreign.iterdir()] == ["measurements.json"]
    overrides = ["-o", "Global.max_steps=2", "Global.use_visualdl=false"]
    assert main(["train", "-c", str(out / "0.7" / "config.yaml"), *overrides]) == 0, capsys.readouterr().err
    assert (out / "0.7" / "config" / "best_model.pdparams").is_file()


def test_further_training_that_was_stopped_goes_on(digits_run, made_up_times, tmp_path, capsys, monkeypatch):
    out = tmp_path / "slim"
    command = ["slim", "--run", str(digits_run.path), "--output", str(out), "--images", "32", "--held-out", "32"]
    command += ["--operators", "GroupConv", "--budget", "0.9", "0.7", "--finetune", "2"]
    command += ["-o", "Global.max_steps=null", "Global.use_visualdl=false"]
    closed, close = [], Trainer._close_epoch

    def stop_after_the_third(trainer):
        close(trainer)
        closed.append(trainer)
        if len(closed) == 3:
            raise Stopped(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_close_epoch", stop_after_the_third)
        assert main(command) == 128 + signal.SIGINT
    assert "the same command goes on with -o Global.checkpoints=auto" in capsys.readouterr().err
    assert main(command) == 2
    assert "already holds a run; resume it with -o Global.checkpoints=auto" in capsys.readouterr().err
    count = len(made_up_times)
    assert main([*command, "--measure-again"]) == 2
    assert len(made_up_times) == count  # said before anything is measured
    assert "or write elsewhere with --output DIR" in capsys.readouterr().err
    assert main([*command, "-o", "Global.checkpoints=auto"]) == 0, capsys.readouterr().err
    for label in ("0.9", "0.7"):
        trained = Experiment(str(out / label / "config.yaml"))
        assert [row["epoch"] for row in trained.history] == [1, 2]
        assert (trained.config.Global.checkpoints, trained.config.Global.overwrite) == (None, False)


def test_a_trained_result_is_not_replaced_by_another_choice(digits_run, made_up_times, tmp_path, capsys):
    out = tmp_path / "slim"
    command = ["slim", "--run", str(digits_run.path), "--output", str(out), "--images", "32", "--held-out", "32"]
    command += ["-o", "Global.use_visualdl=false", "--finetune", "1"]
    assert main([*command, "--operators", "GroupConv", "--budget", "0.8", "--budget", "0.8", "0.9"]) == 0
    assert {folder.name for folder in out.iterdir() if (folder / "config.yaml").is_file()} == {"0.8", "0.9"}
    trained = Experiment(str(out / "0.8" / "config.yaml"))
    assert [row["epoch"] for row in trained.history] == [1]
    rate, of_start = (it.config.Optimizer.lr.arguments for it in (trained, Experiment.open(str(digits_run.path))))
    assert rate["learning_rate"] == pytest.approx(of_start["learning_rate"] / 3)  # one epoch, not three
    assert trained.config.Global.max_steps is None  # the start had 20, of which the training is to know nothing
    before = {file: file.read_bytes() for file in (out / "0.8").iterdir() if file.is_file()}
    capsys.readouterr()
    others = [*command, "--operators", "SPConv", "--budget", "0.8", "0.7"]
    assert main(others) == 2
    assert "holds a network that was trained of another choice than this one" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in before} == before
    assert (out / "0.7" / "config" / "best_model.pdparams").is_file()
    others = [*others[:-3], "--budget", "0.8", "-o"]
    assert main([*others, "Global.overwrite=maybe"]) == 2
    assert "Global.overwrite should be true or false; got 'maybe'" in capsys.readouterr().err
    assert main([*others, "Global.overwrite=true"]) == 0, capsys.readouterr().err
    assert (out / "0.8" / "config.yaml").read_bytes() != before[out / "0.8" / "config.yaml"]
    assert Run(out / "0.8" / "config").exists
    back = [it for it in others if it not in ("--finetune", "1")]
    assert main(["GroupConv" if it == "SPConv" else it for it in back] + ["Global.overwrite=true"]) == 0
    assert not Run(out / "0.8" / "config").exists


@pytest.mark.full
def test_a_run_is_really_measured(digits_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "slim"
    common = ["slim", "--run", str(digits_run.path), "--output", str(out), "--images", "32", "--held-out", "32"]
    assert main([*common, "--operators", "GroupConv,HetConv", "--rounds", "1", "--budget", "1"]) == 0, (
        capsys.readouterr()
    )
    measured = Measurements.read(out / "1" / "measurements.json")
    assert measured.plain_ms > 0
    assert all(ratio > 0 for found in measured.ratios.values() for ratio in found.values())
    assert "0 layers changed" in capsys.readouterr().out


def test_a_file_in_place_of_a_budgets_folder_stays(digits_run, made_up_times, capsys, tmp_path):
    (tmp_path / "slim" / "fits").mkdir(parents=True)
    (tmp_path / "slim" / "0.8").write_text("of the user")
    command = ["slim", "--run", str(digits_run.path), "--output", str(tmp_path / "slim"), "--images", "32"]
    assert main([*command, "--held-out", "32", "--operators", "GroupConv", "--budget", "0.8"]) == 2
    assert "0.8: File exists" in capsys.readouterr().err
    assert (tmp_path / "slim" / "0.8").read_text() == "of the user"


def test_gains_that_sum_to_more_than_the_whole_are_drawn(tmp_path):
    judged = [Judged("NoBranch", "", 8.0, 0.5, 0.6, 4)]
    spots = [Spot("a", "block", [], judged), Spot("b", "block", [], judged)]
    measured = Measurements(FACTS, 10.0, 10, 0.25, 0.75, spots, {})
    assert measured.fastest_ms == -6.0
    draw_budget(measured, measured.choose(5.0), tmp_path / "budget.png")
    assert (tmp_path / "budget.png").is_file()


def test_a_network_that_takes_longer_than_the_budget_says_so():
    measured = Measurements(FACTS, 10.0, 10, 0.25, 0.75, [], {})

    def said(measured_ms):
        chosen = Chosen(5.0, {}, 4.0, 0.1, 10)
        return str(Slimmed(Own(), [], chosen, measured_ms, learning.Score(0.1, 0.9), measured))

    assert "measured 5.1 ms (+27.5%), over the budget;" in said(5.1)
    assert all("over the budget" not in said(measured_ms) for measured_ms in (5.0, None))


def test_a_prediction_of_no_time_has_no_error(tmp_path):
    judged = [Judged("NoBranch", "", 8.0, 0.5, 0.6, 4)]
    spots = [Spot("a", "block", [], judged), Spot("b", "block", [], judged)]
    measured = Measurements(FACTS, 10.0, 10, 0.25, 0.75, spots, {})
    made = Slimmed(Own(), [], measured.choose(1.0), 0.5, learning.Score(0.1, 0.9), measured)
    assert made.error is None
    assert "no time predicted for 1 ms, measured 0.5 ms; loss" in str(made)
    text = page("a", made, (2, 1), None, {}, [])
    assert "| latency, ms | 10.000 | none | 0.500 |" in text
    assert "**Doubtful**: the gains of the parts sum to more than the network takes" in text


@pytest.mark.parametrize("operators", ["GroupConv,HetConv", ["GroupConv", "HetConv"]])
def test_names_may_be_one_text(made_up_times, operators):
    measured = ppeconv.slim(Own(), loader(), budget=0.9, operators=operators, keep="body.0", **SMALL).measurements
    assert {it.name for spot in measured.spots for it in spot.judged} == {"GroupConv", "HetConv"}
    assert {spot.path.partition(".")[2][:1] for spot in measured.spots} == {"1"}


def test_a_loss_of_many_numbers_is_refused(made_up_times):
    with pytest.raises(UserError, match=r"a loss is one number, the mean over the images; got one of shape \[16, 4\]"):
        ppeconv.slim(Own(), loader(), budget=0.9, loss=lambda output, labels: output, **SMALL)
    assert made_up_times == []


def slimmed_to_seven(monkeypatch, measured, geometries=("3x3", "3x3"), gain_ms=3.0):
    """Layers that gain this much of 10 ms, each or one by one, for a budget of 7; `measured` tells what a choice
    takes."""
    geometries = list(geometries)
    gains = np.broadcast_to(gain_ms, len(geometries)).tolist()
    spots = [
        Spot(f"{number}", geometry, [], [Judged("GroupConv", "", gain, number, 0.1, 4)])
        for number, (geometry, gain) in enumerate(zip(geometries, gains, strict=True), 1)
    ]
    search = SimpleNamespace(
        positions=[], images=None, loss=None, say=lambda line: None, phase=lambda name: nullcontext()
    )
    monkeypatch.setattr(slim_module, "_measured", lambda _1, _2, chosen: measured(chosen))
    monkeypatch.setattr(slim_module, "fitted", lambda _1, _2: None)
    monkeypatch.setattr(slim_module, "score", lambda *_: learning.Score(0.1, 0.9))
    return search, slim_module.slimmed(search, Measurements(FACTS, 10.0, 10, 0.25, 0.75, spots, {}), 7.0)


@pytest.mark.parametrize(
    ("gained", "number", "predicted", "measured"),
    [
        (0.5, 2, 7.0, 7.0),  # half of what the parts sum to: both, and the prediction knows
        (1.2, 1, 7.0, 6.4),
        (1.25, 1, 7.0, 6.25),  # more than a tenth faster than predicted, but nothing else is fast enough
        (0.2, 2, 8.8, 8.8),  # not even both are enough
        (-0.1, 0, 10.0, 10.0),  # slower than what stood there
    ],
)
def test_a_choice_over_the_budget_is_made_anew_knowing_what_it_took(
    monkeypatch, gained, number, predicted, measured, tmp_path
):
    search, found = slimmed_to_seven(monkeypatch, lambda chosen: 10 - gained * 3 * len(chosen.options))
    assert len(found.chosen.options) == number
    assert (found.measured_ms, found.chosen.budget_ms) == pytest.approx((measured, 7.0))
    assert found.chosen.predicted_ms == pytest.approx(predicted, abs=0.05)
    found.measurements.write(tmp_path / "measurements.json")
    monkeypatch.setattr(slim_module, "_measured", None)
    again = slim_module.slimmed(search, Measurements.read(tmp_path / "measurements.json"), 7.0, measure=False)
    assert (again.chosen, again.measured_ms) == (found.chosen, found.measured_ms)


def test_measurements_of_another_budget_predict_what_was_found_there(monkeypatch):
    search, found = slimmed_to_seven(monkeypatch, lambda chosen: 10 - 1.5 * len(chosen.options), ["3x3"] * 3)
    for budget_ms, number, measured in ((8.6, 1, 8.5), (5.6, 3, None)):
        other = slim_module.slimmed(search, found.measurements, budget_ms, measure=False)
        assert (len(other.chosen.options), other.measured_ms) == (number, measured)
    assert other.chosen.predicted_ms == pytest.approx(5.5, abs=0.05)


@pytest.mark.parametrize(
    ("times", "measured"),
    [
        ((7.4, 7.1, 7.3, 7.2), 7.1),
        ((7.4, 7.1, 6.9), 6.9),
        ((7.4, None), 7.4),
        ((8.5, 4.0, 6.9), 6.9),  # the first, the first two, the second alone
        ((8.5, 4.0, 7.2), 4.0),
    ],
)
def test_the_best_choice_that_keeps_the_budget_is_taken_else_the_fastest(monkeypatch, times, measured):
    following = iter(times)
    _, found = slimmed_to_seven(monkeypatch, lambda chosen: next(following), "abcdef")
    assert found.measured_ms == measured
    assert list(following) == []


def test_the_next_choice_leaves_room_for_what_is_always_a_little_slower_than_predicted(monkeypatch):
    seen, slower = list[Chosen](), 0.05

    def measured(chosen):
        seen.append(chosen)
        return chosen.predicted_ms + slower

    _, found = slimmed_to_seven(monkeypatch, measured, map(str, range(60)), gain_ms=0.1)
    assert [it.predicted_ms + slower <= 7 for it in seen] == [False, True]
    assert found.chosen == seen[-1]


def test_where_room_leads_to_what_was_measured_the_budget_itself_is_aimed_at(monkeypatch):
    gained, seen = {"1": 0.8, "2": 1.8, "3": 3.25, "4": 1.3}, []

    def measured(chosen):
        seen.append(sorted(chosen.options))
        return 10 - sum(gained[path] for path in chosen.options)

    _, found = slimmed_to_seven(monkeypatch, measured, "abcd", gain_ms=[1.0, 2.0, 2.5, 1.0])
    assert seen == [["1", "2"], ["1", "3"], ["3"]]  # 7.4 ms, 5.95 where 6.83 were predicted, 6.75
    assert (list(found.chosen.options), found.measured_ms) == (["3"], 6.75)


def test_measurements_of_a_file_are_looked_at(tmp_path):
    file = tmp_path / "a.json"
    judged = [Judged("GroupConv", "conv_groups: 4", 1.0, 0.5, 0.6, 4)]
    spots, wholes = [Spot("a", "3x3", [], judged)], [Whole({"a": Option("GroupConv", "conv_groups: 4")}, 8.5)]
    good = Measurements(FACTS, 10.0, 10, 0.25, 0.75, spots, {}, wholes=wholes)
    good.write(file)
    assert Measurements.read(file) == good
    content = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in content.items() if name != "wholes"}))
    assert Measurements.read(file) == good.knowing([])  # an older file
    (odd,) = json.loads(json.dumps(content["spots"]).replace("GroupConv", "GroupConf"))
    for change, words in (
        ({"facts": {"cpu": "x"}}, r"holds no measurements of slim \(facts.network: Field required\)"),
        ({"plain_ms": 0.0}, "plain_ms: Input should be greater than or equal to 0.000001"),
        ({"plain_ms": 1e300}, r"plain_ms: Input should be less than or equal to 1000000000"),
        ({"spots": [odd]}, r"holds no measurements of slim \(there is no .* did you mean 'GroupConv'"),
        ({"wholes": [{"options": {}, "ms": -1}]}, "wholes.0.ms: Input should be greater than or equal to 0.000001"),
    ):
        file.write_text(json.dumps(content | change))
        with pytest.raises(UserError, match=words):
            Measurements.read(file)
