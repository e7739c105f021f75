"""Two processes equal one with the whole batch, on one machine and on two; what becomes of a job that loses one."""

import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest

from ppeconv.engine import checkpoint
from ppeconv.engine.run import Run
from tests.engine.test_resume import assert_same, rows
from tests.support import processes
from tests.support.processes import ROOT, finish, launch
from tests.support.runs import trained_run

NAME = "lenet_conv_digits"
LENGTH = ["Global.epochs=2", "Global.save_step_interval=5", "Global.ema=0.9", "Optimizer.name=Momentum"]
LONGER = ["Global.epochs=12"]
SPLIT = "DataLoader.Train.sampler.batch_size=32"
TOLERANCE = {"rtol": 1e-4, "atol": 1e-6}


def train(folder, *overrides, **keywords):
    """The launcher at work on `tools/train.py`, two processes with half of the usual batch each."""
    options = ["-c", NAME, "-o", f"Global.output_dir={folder}", *LENGTH, SPLIT, *overrides]
    return launch(ROOT / "tools" / "train.py", *options, log=folder / "log", **keywords)


def weights(run):
    return checkpoint.read(run.path / "latest.pdparams")


def momenta(run):
    states = checkpoint.read(run.path / "latest.pdopt")
    return {name: value for name, value in states.items() if name != "LR_Scheduler"}


def averages(run):
    return checkpoint.read(run.path / "latest.pdstates")["average"]["values"]


def assert_alike(first, second):
    """Two runs' weights, averages, optimizers and tables, up to rounding."""
    for arrays in (weights, momenta, averages):
        one, other = arrays(first), arrays(second)
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_allclose(value, other[name], **TOLERANCE, err_msg=f"{arrays.__name__} of {name}")
    for one, other in zip(rows(first), rows(second), strict=True):
        assert float(one["train_loss"]) == pytest.approx(float(other["train_loss"]), rel=1e-4)
        assert float(one["eval_loss"]) == pytest.approx(float(other["eval_loss"]), rel=1e-4)
        assert one["eval_top1"] == other["eval_top1"]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """One process with the whole batch."""
    return trained_run(tmp_path_factory.mktemp("single"), *LENGTH, name=NAME)


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    """Two processes with half of it each: (run, output of the launcher)."""
    folder = tmp_path_factory.mktemp("double")
    (output,) = finish(train(folder))
    return Run(folder / NAME), output


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    """Two processes for long enough to be killed: the launcher shows what they say a second or two late."""
    folder = tmp_path_factory.mktemp("longer")
    finish(train(folder, *LONGER))
    return Run(folder / NAME)


def test_communication(tmp_path):
    """What is checked stands in tests/support/processes.py."""
    (output,) = finish(launch(processes.__file__, log=tmp_path))
    assert output.count(" passed\n") == sum(name.startswith("check_") for name in vars(processes))


def test_two_processes_equal_one_with_the_whole_batch(single, double):
    assert_alike(double[0], single)


def test_one_process_writes_and_speaks(double):
    run, output = double
    log = (run.path / "train.log").read_text("utf-8")
    assert log in output
    assert log.count("[Eval][Epoch 1][Avg]") == log.count("network: LeNet, cpu, 1 threads") == 1
    assert "processes: 2, each with batches of 32" in log
    assert "ppeconv INFO" not in (run.path.parent / "log" / "workerlog.1").read_text("utf-8")


@pytest.mark.full
def test_evaluation_in_two_processes(double, tmp_path):
    run, _ = double
    (output,) = finish(launch(ROOT / "tools" / "eval.py", "--run", run.path, log=tmp_path))
    best = max(float(row["eval_top1"]) for row in rows(run))
    assert f"top1: {best:.5f}" in output
    assert "images: 360" in output
    assert (run.path / "per_class.csv").is_file()


@pytest.mark.full
def test_two_machines(double, tmp_path):
    """Over the loopback; the second has no access to the run folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--master", f"127.0.0.1:{port}", "--nnodes", 2, "--nproc_per_node", 1, "--rank"]
    finish(*(train(tmp_path / f"machine{rank}", options=[*options, rank]) for rank in range(2)))
    assert_same(Run(tmp_path / "machine0" / NAME), double[0])
    assert not (tmp_path / "machine1" / NAME).exists()


@pytest.mark.full
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_job_which_then_resumes_bit_for_bit(victim, longer, tmp_path):
    with train(tmp_path, *LONGER) as launcher:
        for line in launcher.stdout:
            if "[Train][Epoch 2/" in line:
                break
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        os.kill(int(children[victim]), signal.SIGKILL)
        launcher.communicate(timeout=120)
    assert launcher.returncode != 0
    assert f"process {1 - victim} of 2 lost the others" in (tmp_path / "log" / f"workerlog.{1 - victim}").read_text()
    (output,) = finish(train(tmp_path, *LONGER, "Global.checkpoints=auto"))
    assert "resumed from" in output
    assert_same(Run(tmp_path / NAME), longer)


@pytest.mark.full
def test_resuming_with_another_number_of_processes(single, tmp_path):
    """From two to one and back, within epochs; the batch of all of them together stays the same."""
    finish(train(tmp_path, "Global.max_steps=10"))
    trained_run(tmp_path, *LENGTH, "Global.checkpoints=auto", "Global.max_steps=30", name=NAME)
    finish(train(tmp_path, "Global.checkpoints=auto"))
    assert_alike(Run(tmp_path / NAME), single)


def test_a_problem_is_told_once_and_ends_all(single, tmp_path):
    launcher = train(single.path.parent)
    output, _ = launcher.communicate(timeout=120)
    assert launcher.returncode != 0
    assert "already holds a run; resume it with" in output
