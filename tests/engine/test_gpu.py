"""What needs a GPU; everything else runs the same on both devices."""

import csv

import paddle
import pytest

from ppeconv.engine.run import Run
from tests.support.processes import ROOT, finish, launch
from tests.support.runs import trained_run

GPUS = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
NAME = "lenet_spconv_digits"

pytestmark = pytest.mark.skipif(not GPUS, reason="needs a GPU and a GPU build of Paddle")


def last_row(run):
    with open(run.path / "results.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))[-1]


@pytest.mark.parametrize("amp", ["AMP.use_amp=false", "AMP.level=O1", "AMP.level=O2"])
def test_training_learns(amp, tmp_path):
    run = trained_run(tmp_path, "Global.device=gpu", "Global.epochs=3", "AMP.use_amp=true", amp)
    assert "network: LeNet, gpu" in (run.path / "train.log").read_text("utf-8")
    assert float(last_row(run)["eval_top1"]) > 0.8


def test_a_run_goes_on_on_the_cpu(tmp_path):
    trained_run(tmp_path, "Global.device=gpu", "Global.epochs=2", "Global.max_steps=30")
    run = trained_run(tmp_path, "Global.device=cpu", "Global.epochs=2", "Global.checkpoints=auto")
    assert last_row(run)["epoch"] == "2"
    assert float(last_row(run)["eval_top1"]) > 0.7


@pytest.mark.skipif(GPUS < 2, reason="needs two GPUs")
def test_two_gpus(tmp_path):
    options = ["-c", NAME, "-o", f"Global.output_dir={tmp_path}", "Global.epochs=3"]
    finish(launch(ROOT / "tools" / "train.py", *options, log=tmp_path / "log", options=["--gpus", "0,1"]))
    assert float(last_row(Run(tmp_path / NAME))["eval_top1"]) > 0.8
