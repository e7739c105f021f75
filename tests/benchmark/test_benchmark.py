"""Measuring: contestants in processes of their own, the tables of training and inference, and the page of speeds."""

from __future__ import annotations

import csv
import itertools
import os
import sys
import time
from pathlib import Path
from statistics import fmean

import paddle
import pytest
from paddle import nn

from ppeconv import UserError, backend, list_pretrained
from ppeconv.benchmark import inference, lanes, machine, training, worker
from ppeconv.benchmark.inference import InferenceSpeed
from ppeconv.benchmark.networks import Network
from ppeconv.benchmark.summary import fastest
from ppeconv.benchmark.table import as_text, read_csv, write_csv
from ppeconv.benchmark.training import TrainingSpeed
from ppeconv.benchmark.turns import Contestant, drop_refusing, median_ms, take_turns, time_ratio
from ppeconv.choosing.advice import Option
from ppeconv.cli.benchmark import _runtimes
from ppeconv.cli.main import main
from ppeconv.counting import Counts
from ppeconv.deployment.runtimes import by_preference
from ppeconv.experiment.speed import of_config
from ppeconv.registry import OPERATORS
from tests.support.runs import call, skip_without_bf16, trained_run
from tests.support.scripts import script

CONFIGS = Path(__file__).parents[2] / "configs"


def sleeper(milliseconds):
    return lambda: time.sleep(milliseconds / 1000)


def holder(mib):
    held = bytearray(mib * 2**20)
    return lambda: len(held)


def refuser(sentence):
    raise UserError(sentence)


def contestant(function, **arguments):
    return Contestant({"make": f"{__name__}:{function}", "arguments": arguments})


def test_contestants_take_turns():
    taken = take_turns(
        {"long": contestant("sleeper", milliseconds=30), "none": contestant("sleeper", milliseconds=0)}, 2, 3
    )
    assert {name: [len(turn) for turn in turns] for name, turns in taken.items()} == {"long": [3, 3], "none": [3, 3]}
    assert min(map(min, taken["long"])) >= 30


class Scripted:
    """A contestant whose turns take what a list says, over and over."""

    def __init__(self, *milliseconds):
        self.next, self.is_closed = itertools.cycle(milliseconds), False

    def milliseconds(self, times):
        return [next(self.next)] * times

    def close(self):
        self.is_closed = True


@pytest.mark.parametrize(
    ("turns", "stretch", "rounds"),
    [
        ([5.0], 4, 3),
        ([5.0, 5.05], 4, 3),
        ([5.0, 10.0], 4, 12),
        ([5.0, 10.0], 1, 3),
        ([5.0, 5.4, 5.0, 5.4, *[5.1] * 8], 4, 8),
        ([5.0, 5.0, 10.0, 5.0, 5.0], 4, 5),
    ],
)
def test_rounds_go_on_until_ratios_are_known(turns, stretch, rounds):
    contestants = {"plain": Scripted(4.0), "other": Scripted(*turns)}
    taken = take_turns(contestants, 3, 2, stretch)
    assert [len(found) for found in taken.values()] == [rounds, rounds]
    assert all(it.is_closed for it in contestants.values())


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX's")
def test_ctrl_c_is_not_for_contestants():
    one = contestant("sleeper", milliseconds=0)
    assert os.getpgid(one._process.pid) != os.getpgid(0)
    one.close()


def test_what_slows_some_rounds_does_not_change_a_ratio():
    """Three rounds of five at half the speed, which hit one turn more of the one than of the other."""
    own = [[2.0, 2.1, 2.0], [4.0, 4.0, 4.4], [4.0] * 3, [4.0] * 3, [2.0] * 3]
    base = [[4.0, 4.0, 9.0], [8.0] * 3, [8.0] * 3, [4.0] * 3, [4.0] * 3]
    assert time_ratio(own, base) == 0.5
    assert (median_ms(own), median_ms(base)) == (4.0, 4.0)


def test_a_contestants_refusal_is_raised_here():
    with pytest.raises(UserError, match="no such network"):
        take_turns({"one": contestant("refuser", sentence="no such network")}, 1, 1)


def test_contestants_that_refuse_are_dropped():
    contestants = {"one": contestant("refuser", sentence="no such network"), "two": contestant("holder", mib=1)}
    assert drop_refusing(contestants) == {"one": "no such network"}
    assert list(take_turns(contestants, 1, 2)) == ["two"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the peak of a process")
def test_peak_memory_is_that_of_the_contestant_alone():
    here = bytearray(600 * 2**20)
    contestants = {mib: contestant("holder", mib=mib) for mib in (0, 200)}
    take_turns(contestants, 1, 1)
    little, much = (contestants[mib].peak_mib for mib in (0, 200))
    assert 150 < much - little < 250
    assert 50 < little < len(here) / 2**20


def test_runs_before_the_timed_ones(monkeypatch):
    calls = []
    monkeypatch.setattr(worker, "WARM_UP_SECONDS", 0)
    assert len(worker.milliseconds(lambda: calls.append(1), 3)) == 3
    assert len(calls) == 4
    monkeypatch.setattr(worker, "WARM_UP_SECONDS", 0.05)
    assert len(worker.milliseconds(lambda: calls.append(time.sleep(0.02)), 1)) == 1
    assert len(calls) >= 4 + 2 + 1


def test_a_contestant_that_dies_is_a_sentence():
    with pytest.raises(UserError, match="measuring process"):
        take_turns({"one": Contestant({}, ["false"])}, 1, 1)
    with pytest.raises(UserError, match="measuring process"):
        take_turns({"one": Contestant({"much": "x" * 10**6}, ["false"])}, 1, 1)


@pytest.mark.skipif(not backend.available()[0], reason=backend.available()[1])
def test_training_steps_of_a_config(tmp_path, capsys):
    file = tmp_path / "speed.csv"
    options = ["--batch-size", "4", "--rounds", "1", "--times", "1", "--csv", str(file)]
    assert main(["benchmark", "--train", "-c", "lenet_spconv_digits", *options]) == 0
    (row,) = csv.DictReader(file.open(encoding="utf-8"))
    assert (row["config"], row["batch_size"]) == ("lenet_spconv_digits", "4")
    assert (row["mac_ratio"], row["time_ratio"]) == ("1", "1")
    assert row["paddle"] == paddle.__version__
    assert float(row["ratio"]) == pytest.approx(float(row["paddle_ms"]) / float(row["onednn_ms"]), rel=1e-2)
    assert float(row["onednn_images_per_second"]) == pytest.approx(4000 / float(row["onednn_ms"]), rel=1e-2)
    assert row["params"] in capsys.readouterr().out


def test_training_steps_beside_the_first_network(tmp_path, capsys):
    file, names = tmp_path / "speed.csv", ["lenet_conv_digits", "lenet_spconv_digits"]
    configs = [word for name in names for word in ("-c", name)]
    options = ["--batch-size", 4, "--rounds", 1, "--times", 1, "--no-stock", "--csv", file]
    code, text, errors = call(capsys, "benchmark", "--train", *configs, *options)
    assert code == 0, errors
    plain, split = read_csv(file, TrainingSpeed)[0]
    assert ([plain.config, split.config], plain.time_ratio) == (names, 1)
    assert split.mac_ratio == pytest.approx(split.macs / plain.macs, rel=1e-3)
    assert split.time_ratio > 0
    assert split.paddle_ms is None
    assert "paddle_ms" not in text


def test_the_times_of_training_steps_are_of_an_image(monkeypatch):
    milliseconds = {"small": 3.0, "large": 12.0}
    monkeypatch.setattr(training.Trainee, "contestant", lambda self, layers: self.name)
    monkeypatch.setattr(training, "take_turns", lambda them, *_: {it: [[milliseconds[them[it]]]] for it in them})
    networks = [
        training.Trainee("small", Counts(1, 10), 2, "", {}),
        training.Trainee("large", Counts(1, 30), 16, "", {}),
    ]
    rows = training.training_speed(networks, stock=False, rounds=1, times=1)
    assert [(row.mac_ratio, row.time_ratio) for row in rows] == [(1, 1), (3, 0.5)]
    assert rows[1].onednn_images_per_second == pytest.approx(16000 / 12)


def test_inference_in_another_precision(tmp_path, capsys):
    skip_without_bf16()
    file = tmp_path / "speed.csv"
    options = ["--batch-size", 2, "--rounds", 1, "--times", 1, "--runtime", "paddle,mnn", "--precision", "bf16"]
    assert call(capsys, "benchmark", "-c", "lenet_spconv_digits", *options, "--csv", file)[0] == 0
    (measured, refused), facts = read_csv(file, InferenceSpeed)
    assert facts["precision"] == "bf16"
    assert measured.median_ms > 0
    assert refused.median_ms is None
    code, _, errors = call(capsys, "benchmark", "--train", "-c", "lenet_spconv_digits", "--precision", "bf16")
    assert (code, "--precision is of inference" in errors) == (2, True)


def test_inference_of_two_configs(tmp_path, capsys):
    file, plot = tmp_path / "speed.csv", tmp_path / "speed.png"
    code, text, errors = call(
        capsys, "benchmark", "-c", "lenet_conv_digits", "-c", "lenet_spconv_digits", "--batch-size", 2, "--rounds", 1,
        "--times", 3, "--csv", file, "--plot", plot, "--runtime", "paddle,int8", "-o", "Global.seed=1",
    )  # fmt: skip
    assert code == 0
    (plain, refused, split, _), facts = read_csv(file, InferenceSpeed)
    assert (plain.time_ratio, plain.mac_ratio, plain.runtime) == (1, 1, "paddle")
    assert split.time_ratio == pytest.approx(split.median_ms / plain.median_ms, rel=1e-2)
    assert split.mac_ratio == pytest.approx(split.macs / plain.macs, rel=1e-3)
    assert split.images_per_second == pytest.approx(2000 / split.median_ms, rel=1e-2)
    assert split.p90_ms >= split.median_ms
    assert (refused.runtime, refused.median_ms) == ("int8", None)
    assert "name a run" in refused.reason
    assert (facts["paddle"], facts["form"], facts["overrides"]) == (paddle.__version__, "deployed", "Global.seed=1")
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert str(split.params) in text
    assert "the fastest runtime of each" in text
    warnings = [line for line in errors.splitlines() if "vector lanes" in line]
    assert len(warnings) == 2
    assert "features.3" in warnings[0]


def test_a_run_is_measured_beside_its_config(tmp_path, capsys):
    run, file = trained_run(tmp_path / "runs"), tmp_path / "speed.csv"
    options = ["--batch-size", 2, "--rounds", 1, "--times", 1, "--csv", file]
    code, _, errors = call(capsys, "benchmark", "--run", run.path, "-c", "lenet_spconv_digits", *options)
    assert code == 0, errors
    trained, untrained = read_csv(file, InferenceSpeed)[0]
    assert (trained.network, trained.macs) == (str(run.path), untrained.macs)
    code, _, errors = call(capsys, "benchmark", "--train", "--run", run.path)
    assert code == 2
    assert "-c instead" in errors


def test_int8_of_a_run(tmp_path, capsys):
    for package in ("onnx", "paddle2onnx", "onnxruntime"):
        pytest.importorskip(package, reason="the extra [onnx] is not installed")
    run, file = trained_run(tmp_path / "runs"), tmp_path / "speed.csv"
    options = ["--batch-size", 2, "--rounds", 1, "--times", 1, "--csv", file, "--runtime", "onnx,int8"]
    assert call(capsys, "benchmark", "--run", run.path, *options)[0] == 0
    full, int8 = read_csv(file, InferenceSpeed)[0]
    assert (full.runtime, int8.runtime, int8.reason) == ("onnx", "int8", "")
    assert int8.median_ms > 0


@pytest.mark.parametrize(("asked", "got"), [(3, "3"), (None, str(machine.threads()))])
def test_contestants_have_the_threads_that_are_asked_for(asked, got, monkeypatch):
    made = []
    monkeypatch.setattr(inference, "Contestant", lambda task, environment: made.append((task, environment)))
    monkeypatch.setattr(inference, "drop_refusing", lambda contestants: dict.fromkeys(contestants.copy(), "it cannot"))
    monkeypatch.setattr(inference, "take_turns", lambda *_: {})
    monkeypatch.setattr(Network, "export", lambda *_: None)
    with pytest.raises(UserError, match="nothing could be measured: it cannot"):
        inference.inference_speed([Network("net", nn.Conv2D(3, 2, 1), [3, 4, 4], 2)], batch_sizes=[1], threads=asked)
    ((task, environment),) = made
    assert (str(task["arguments"]["threads"]), environment) == (got, {"OMP_NUM_THREADS": got})


def test_runtimes_share_an_export_unless_one_cannot_have_it(tmp_path, monkeypatch):
    asked = []

    def export(network, folder, runtimes, form):
        asked.append(runtimes)
        if "onnx" in runtimes:
            raise UserError("it cannot")

    monkeypatch.setattr(Network, "export", export)
    network = Network("net", nn.Linear(3, 2), [3], 2)
    entries = inference._exported(network, ["mnn", "onednn", "paddle"], "deployed", tmp_path)
    assert asked == [["mnn", "paddle"], ["onednn"]]
    assert [(entry.runtime, entry.reason) for entry in entries] == [("mnn", ""), ("onednn", ""), ("paddle", "")]
    assert entries[0].folder == entries[2].folder != entries[1].folder
    entries = inference._exported(network, ["mnn", "onnx"], "deployed", tmp_path)
    assert asked[2:] == [["mnn", "onnx"], ["mnn"], ["onnx"]]
    assert [entry.reason for entry in entries] == ["", "it cannot"]


def test_all_runtimes_are_those_that_the_networks_can_have():
    assert _runtimes(["all"], trained=True) == list(by_preference())
    assert _runtimes(["all"], trained=False) == [name for name in by_preference() if name != "int8"]


def rows_of(*figures):
    """Rows (network, batch, runtime, MAC ratio, median); the time ratio is to the first of the batch and runtime."""
    rows, first = [], {}
    for network, batch, runtime, ratio, median in figures:
        base = first.setdefault((batch, runtime), median)
        known = {"median_ms": median, "time_ratio": median / base} if median and base else {"reason": "it cannot"}
        rows.append(InferenceSpeed(network, batch, runtime, 10, round(100 * ratio), ratio, **known))
    return rows


FIGURES = rows_of(
    ("resnet20_conv_cifar10", 1, "a", 1.0, 4.0),
    ("resnet20_conv_cifar10", 1, "b", 1.0, 5.0),
    ("resnet20_spconv_cifar10", 1, "a", 0.5, 6.0),
    ("resnet20_spconv_cifar10", 1, "b", 0.5, 3.0),
    ("resnet20_conv_cifar10", 64, "a", 1.0, 50.0),
    ("resnet20_conv_cifar10", 64, "b", 1.0, None),
    ("resnet20_spconv_cifar10", 64, "a", 0.5, 60.0),
    ("resnet20_spconv_cifar10", 64, "b", 0.5, None),
)


def test_fastest_against_fastest():
    lines = [(line.network[9:15], line.batch_size, line.runtime, line.time_ratio) for line in fastest(FIGURES)]
    assert lines == [("conv_c", 1, "a", 1), ("spconv", 1, "b", 0.75), ("conv_c", 64, "a", 1), ("spconv", 64, "a", 1.2)]
    assert fastest(rows_of(("plain", 1, "a", 1.0, None), ("other", 1, "a", 0.5, 3.0))) == []


def test_rows_survive_their_csv(tmp_path):
    write_csv(FIGURES, tmp_path / "speed.csv", {"threads": "2", "overrides": "A.b='x y'"})
    assert read_csv(tmp_path / "speed.csv", InferenceSpeed) == (FIGURES, {"threads": "2", "overrides": "A.b='x y'"})
    header = as_text(FIGURES).splitlines()[0].split()
    assert "reason" in header
    assert "p90_ms" not in header


def option(operator, arguments, runtime, ms, macs=100, top1=None):
    """Of a plain network that takes 4 ms on runtime a and 5 ms on b."""
    figures = ms, ms and ms / 4, 10, macs, macs / 100, top1, "CIFAR-10", 12, "1", ms, None, "2026-01-01 00:00"
    return Option(operator, arguments, runtime, *figures, "" if ms else "it cannot")


def test_the_page_of_speeds(tmp_path):
    options = [
        option("plain", "", "a", 4.0),
        option("plain", "", "b", 5.0),
        option("SPConv", "ratio: 0.5", "a", 6.0, 50, 0.8),
        option("SPConv", "ratio: 0.5", "b", 3.0, 50, 0.8),
        option("plain", "width: 0.5", "a", 1.0, 25),
        option("plain", "width: 0.5", "b", None, 25),
        option("SKConv", "", "a", 8.0, 200),
        option("SKConv", "", "b", None, 200),
    ]
    known = {"network": "ResNet20 (classes: 10)", "config": "resnet20_conv_cifar10", "overrides": "Global.seed=1"}
    for batch in "64", "1":
        facts = {"threads": "2", "batch_size": batch, **known}
        write_csv(options, tmp_path / f"resnet20_batch{batch}.csv", facts)
    text = script("scripts/speed_table.py").page(tmp_path, records=tmp_path)
    assert text.count("- threads 2\n") == 1
    one, many = text.split("\n## ")[1:]
    operator = "[SPConv](operators/spconv.md) ratio: 0.5"
    assert one.startswith("ResNet20 (classes: 10)，批大小 1\n")
    assert many.startswith("ResNet20 (classes: 10)，批大小 64\n")
    rows = [line for line in one.splitlines() if line.startswith("| ")][1:]
    assert rows[:2] == [
        "| 普通网络 width: 0.5 | 0.25 | 0.25 | — | **0.25**（1 a） | 1.00 |  |",
        f"| {operator} | 0.50 | 1.50 | 0.60 | **0.75**（3 b） | 1.50 | 80.00% |",
    ]
    assert one.count("top-1：CIFAR-10，12 轮。\n") == 1
    assert f"- **赢**：普通网络 width: 0.5 0.25、{operator} 0.75\n" in one
    assert "- **输**：[SKConv](operators/skconv.md) 2.00\n" in one
    assert "- 没有测：[SKConv](operators/skconv.md)，b：it cannot\n" in one
    asked = "python tools/advise.py -c resnet20_conv_cifar10 -o Global.seed=1 --batch-size 1 --budget"
    assert f"{asked} 0.5\nA narrower plain network is better: no operator fits, and plain (width: 0.5)" in one
    assert f"{asked} 0.75\nTake SPConv (ratio: 0.5)" in one
    assert "python tools/train.py -c resnet20_conv_cifar10 -o Global.seed=1 Arch.width=0.5\n" in one
    trained = f"{fmean(list_pretrained()['resnet20_spconv'].accuracies):.2%}"
    assert f" **0.75**（3 b） | 1.50 | {trained} |" in script("scripts/speed_table.py").page(tmp_path)


def test_the_runtimes_beside_each_other():
    measured = [
        ("configs/wide.yaml", 1, {"onednn": 4.0, "onnx": 5.0, "other": 8.0}),
        ("configs/narrow.yaml", 1, {"onednn": 2.0, "onnx": 1.0, "other": None}),
        ("configs/alien.yaml", 64, {"onednn": None, "onnx": 3.0, "other": 3.5}),
    ]
    rows = [
        InferenceSpeed(network, batch, runtime, 10, 100, 1.0, ms)
        for network, batch, times in measured
        for runtime, ms in times.items()
    ]
    lines = list(script("scripts/speed_table.py").runtimes(rows, {"cpu": "a CPU", "threads": "2", "overrides": ""}))
    assert lines[1:4] == ["## 运行时之间，a CPU", "", "cpu a CPU，threads 2"]
    assert "3 格里有 1 格" in lines[5]
    assert lines[-1].splitlines()[2:] == [
        "| `wide` | 1 | **4** | 5 | 8 | 1.25 |",
        "| `narrow` | 1 | 2 | **1** | — | 0.50 |",
        "| `alien` | 64 | — | **3** | 3.5 | — |",
    ]


def test_the_kept_page_is_the_generated_one():
    speeds, training_steps = script("scripts/speed_table.py"), script("scripts/training_table.py")
    assert speeds.page() == speeds.PAGE.read_text("utf-8"), "run python scripts/speed_table.py"
    assert "".join(training_steps.tables()) in training_steps.PAGE.read_text("utf-8"), "run scripts/training_table.py"


def test_the_table_of_training_steps(tmp_path):
    rows = [
        TrainingSpeed("plain", 9, 100, 1.0, 64, 200.0, None, 320.0, None, None, 1.0),
        TrainingSpeed("operator", 4, 40, 0.4, 64, 150.0, None, 1426.7, None, None, 0.75),
    ]
    write_csv(rows, tmp_path / "net.csv", {"cpu": "a CPU", "threads": "1", "overrides": ""})
    paragraph, table = script("scripts/training_table.py").tables(tmp_path)
    assert paragraph == "批大小 64；cpu a CPU，threads 1：\n\n"
    assert table.splitlines()[2:4] == [
        "| `operator` | 0.40 | 0.75 | 1.88 | 150 | 1,427 |",
        "| `plain` | 1.00 | 1.00 | 1.00 | 200 | 320 |",
    ]


def test_every_operator_has_a_config():
    operators = {name.lower() for name in OPERATORS.names()} - {"conv2d"}
    configs = CONFIGS.glob("resnet20_*.yaml")
    assert operators == {path.stem.split("_")[1] for path in configs if "\nOperator: " in path.read_text("utf-8")}


class Uneven(nn.Layer):
    """Convolutions of all kinds, some of which 8 does not divide."""

    def __init__(self):
        super().__init__()
        self.image = nn.Conv2D(3, 8, 3, padding=1)
        self.narrow = nn.Conv2D(8, 12, 1)
        self.depthwise = nn.Conv2D(12, 12, 3, padding=1, groups=12)
        self.wide = nn.Conv2D(12, 32, 1)
        self.even = nn.Conv2D(32, 16, 3, padding=1, groups=2)
        self.grouped = nn.Conv2D(16, 32, 3, padding=1, groups=4)
        self.gate = nn.Conv2D(32, 32, 1, groups=8)
        self.classes = nn.Conv2D(32, 10, 1)

    def forward(self, image):
        x = self.wide(self.depthwise(self.narrow(self.image(image))))
        x = self.grouped(self.even(x))
        return self.classes(x * self.gate(x.mean([2, 3], keepdim=True)))


def test_convolutions_that_leave_lanes_empty():
    uneven = lanes.uneven_convolutions(Uneven(), [3, 8, 8], 10)
    assert uneven == {"narrow": "8 -> 12", "wide": "12 -> 32", "grouped": "4 -> 8 (x 4 groups)"}
    sentence = lanes.warning("net", uneven | {"other": "8 -> 12"})
    assert "4 convolutions" in sentence
    assert "8 -> 12 in narrow and 1 more;" in sentence


@pytest.mark.parametrize("name", ["conv", "ghostconv"])
def test_even_networks_are_not_warned_about(name):
    facts = ["Infer.image_shape=[3,32,32]", "Infer.class_names=[]", "Arch.class_num=10"]
    assert of_config(f"resnet20_{name}_cifar10", facts).uneven_convolutions("deployed") == {}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["-c", "lenet_conv_digits", "--runtime", "onx"], "'onnx'"),
        (["-c", "lenet_conv_digits", "--runtime", "int8"], "name a run"),
        (["-c", "lenet_conv_digit"], "did you mean"),
        (["-c", "lenet_conv_digits", "--no-stock"], "goes with --train"),
        (["-c", "lenet_conv_digits", "-c", "lenet_conv_digits"], "named twice"),
        (["--run", "nowhere"], "not a run folder"),
        ([], "nothing to measure"),
    ],
)
def test_bad_input_of_inference(options, sentence, capsys):
    code, _, errors = call(capsys, "benchmark", *options)
    assert code == 2
    assert sentence in errors


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["-c", "lenet_conv_digit"], "did you mean"),
        (["-c", "lenet_conv_digits", "--rounds", "0"], "--rounds: should be an integer from 1"),
        (["-c", "lenet_conv_digits", "-o", "Optimizer.name=Foo"], "allowed"),
        (["-c", "lenet_conv_digits", "--plot", "speed.png"], "does not go with --train"),
    ],
)
def test_bad_input_of_training(options, sentence, capsys):
    assert main(["benchmark", "--train", *options]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--batch-size", "2", "5"], ["--batch-size", "2", "--batch-size", "5", "2"]])
def test_every_batch_size_and_runtime_that_is_named_is_measured(options, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        "ppeconv.experiment.speed.speed_of_training", lambda *_, batch_size, **__: asked.append(batch_size) or []
    )
    monkeypatch.setattr(
        "ppeconv.benchmark.inference.inference_speed",
        lambda *_, batch_sizes, runtimes, **__: asked.extend([*batch_sizes, *runtimes]) or [],
    )
    monkeypatch.setattr("ppeconv.benchmark.table.as_text", str)
    assert main(["benchmark", "--train", "-c", "lenet_conv_digits", *options]) == 0
    assert asked == [2, 5]
    runtimes = ["--runtime", "paddle", "--runtime", "onednn,paddle"]
    assert main(["benchmark", "-c", "lenet_conv_digits", *options, *runtimes]) == 0
    assert asked == [2, 5, 2, 5, "paddle", "onednn"]
