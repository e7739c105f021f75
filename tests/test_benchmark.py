"""Measuring: contestants in processes of their own, and the table of training steps."""

from __future__ import annotations

import csv
import time

import pytest

from ppeconv import UserError, backend
from ppeconv.benchmark.turns import Contestant, take_turns
from ppeconv.cli.main import main


def sleeper(milliseconds):
    return lambda: time.sleep(milliseconds / 1000)


def refuser(sentence):
    raise UserError(sentence)


def contestant(function, **arguments):
    return Contestant({"make": f"{__name__}:{function}", "arguments": arguments})


def test_contestants_take_turns():
    taken = take_turns(
        {"long": contestant("sleeper", milliseconds=30), "none": contestant("sleeper", milliseconds=0)}, 2, 3
    )
    assert {name: len(times) for name, times in taken.items()} == {"long": 6, "none": 6}
    assert min(taken["long"]) >= 30


def test_a_contestants_refusal_is_raised_here():
    with pytest.raises(UserError, match="no such network"):
        take_turns({"one": contestant("refuser", sentence="no such network")}, 1, 1)


def test_a_contestant_that_dies_is_a_sentence():
    with pytest.raises(UserError, match="measuring process"):
        take_turns({"one": Contestant({}, ["false"])}, 1, 1)


@pytest.mark.skipif(not backend.available()[0], reason=backend.available()[1])
def test_training_steps_of_a_config(tmp_path, capsys):
    file = tmp_path / "speed.csv"
    options = ["--batch-size", "4", "--rounds", "1", "--times", "1", "--csv", str(file)]
    assert main(["benchmark", "--train", "-c", "lenet_spconv_digits", *options]) == 0
    (row,) = csv.DictReader(file.open(encoding="utf-8"))
    assert (row["config"], row["batch_size"]) == ("lenet_spconv_digits", "4")
    assert float(row["ratio"]) == pytest.approx(float(row["paddle_ms"]) / float(row["onednn_ms"]), rel=1e-2)
    assert float(row["onednn_images_per_second"]) == pytest.approx(4000 / float(row["onednn_ms"]), rel=1e-2)
    assert row["params"] in capsys.readouterr().out


def test_inference_of_two_configs(tmp_path, capsys):
    file = tmp_path / "speed.csv"
    options = ["--batch-size", "2", "--rounds", "1", "--times", "3", "--csv", str(file)]
    assert main(["benchmark", "-c", "lenet_conv_digits", "-c", "lenet_spconv_digits", *options]) == 0
    plain, split = csv.DictReader(file.open(encoding="utf-8"))
    assert (plain["time_ratio"], plain["mac_ratio"], plain["runtime"]) == ("1", "1", "paddle")
    assert float(split["time_ratio"]) == pytest.approx(float(split["median_ms"]) / float(plain["median_ms"]), rel=1e-2)
    assert float(split["mac_ratio"]) == pytest.approx(int(split["macs"]) / int(plain["macs"]), rel=1e-3)
    assert float(split["p90_ms"]) >= float(split["median_ms"])
    assert split["params"] in capsys.readouterr().out


@pytest.mark.parametrize("runtime", ["int8", "onx"])
def test_unknown_runtimes_are_refused(runtime, capsys):
    assert main(["benchmark", "-c", "lenet_conv_digits", "--runtime", runtime]) == 2
    assert "onnx" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["-c", "lenet_conv_digit"], "did you mean"),
        (["-c", "lenet_conv_digits", "--rounds", "0"], "at least 1"),
        (["-c", "lenet_conv_digits", "-o", "Optimizer.name=Foo"], "allowed"),
    ],
)
def test_bad_input(options, sentence, capsys):
    assert main(["benchmark", "--train", *options]) == 2
    assert sentence in capsys.readouterr().err
