"""The run folder: what is deleted from it, who may train in it, what a run goes on from."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ppeconv import UserError
from ppeconv.engine import checkpoint
from ppeconv.engine.lock import Lock
from ppeconv.engine.precision import Precision
from ppeconv.engine.resume import Checkpoints
from ppeconv.engine.run import Run
from ppeconv.engine.trainer import Progress
from ppeconv.experiment import Experiment
from tests.support.runs import call, trained_run

NAME = "lenet_spconv_digits"
QUICK = ["Global.use_visualdl=false", "DataLoader.Train.sampler.batch_size=360"]
"""Four steps an epoch."""
OF_THE_USER = ["latest_notes.txt", "best_model_for_paper.pdf", "epoch_notes.md", "width.txt", "curves.svg", "a/b.txt"]


def quick_run(folder, *overrides):
    return trained_run(folder, *QUICK, *overrides)


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def write_notes(folder):
    for name in OF_THE_USER:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"mine: {name}", "utf-8")
    return contents(folder)


def epochs(run):
    with open(run.path / "results.csv", encoding="utf-8") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def progress(prefix):
    return checkpoint.read(prefix.with_name(f"{prefix.name}.pdstates"))["progress"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of three epochs that has kept every checkpoint."""
    return quick_run(tmp_path_factory.mktemp("finished"), "Global.epochs=3", "Global.save_interval=1")


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it to go on with."""
    shutil.copytree(finished.path, tmp_path / NAME)
    return Run(tmp_path / NAME)


@pytest.mark.parametrize("checkpoints", [[], ["Global.checkpoints=auto"]])
def test_a_folder_of_other_things_is_refused(checkpoints, tmp_path):
    before = write_notes(tmp_path / NAME)
    with pytest.raises(UserError, match=r"is not empty and holds no run.*Global.overwrite=true"):
        quick_run(tmp_path, *checkpoints)
    assert contents(tmp_path / NAME) == before


def test_overwriting_deletes_what_a_run_wrote_and_nothing_else(copy):
    before = write_notes(copy.path)
    (copy.path / "width.csv").write_text("of an evaluation", "utf-8")
    quick_run(copy.path.parent, "Global.overwrite=true")
    after = contents(copy.path)
    assert {name: after[name] for name in OF_THE_USER} == {name: before[name] for name in OF_THE_USER}
    assert epochs(copy) == [1]
    assert not {"epoch_1.pdparams", "epoch_3.json", "width.csv"} & after.keys()


def test_an_empty_folder_and_one_with_an_export_are_trained_into(tmp_path):
    (tmp_path / NAME / "inference").mkdir(parents=True)
    run = quick_run(tmp_path, "Global.max_steps=1")
    assert run.exists
    assert (run.path / "inference").is_dir()


def test_a_run_that_lost_its_config_is_not_begun_anew(copy):
    (copy.path / "config.yaml").unlink()
    before = contents(copy.path)
    with pytest.raises(UserError, match=r"it has no config.yaml; go on from its checkpoints with .*checkpoints=auto"):
        quick_run(copy.path.parent)
    assert contents(copy.path) == before
    quick_run(copy.path.parent, "Global.checkpoints=auto", "Global.epochs=4")
    assert epochs(copy) == [1, 2, 3, 4]


def test_auto_takes_the_newest_intact_checkpoint_of_any_name(copy, capsys):
    for lost in (*copy.path.glob("latest.*"), *copy.path.glob("previous.*")):
        lost.unlink()
    (copy.path / "epoch_3.pdopt").write_bytes(b"damaged")
    quick_run(copy.path.parent, "Global.checkpoints=auto", "Global.epochs=3")
    said = capsys.readouterr().out
    assert (
        f"resumed from {copy.path / 'epoch_2'} (not from a newer one: {copy.path / 'epoch_3.pdopt'} is damaged" in said
    )
    assert epochs(copy) == [1, 2, 3]
    assert progress(copy.latest)["epoch"] == 3


def test_auto_does_not_go_back_behind_a_newer_checkpoint(copy, capsys):
    """`previous` is of the second epoch."""
    (copy.path / "latest.pdopt").unlink()
    quick_run(copy.path.parent, "Global.checkpoints=auto", "Global.epochs=3")
    said = capsys.readouterr().out
    assert f"resumed from {copy.path / 'epoch_3'} (not from a newer one: {copy.path / 'latest.pdopt'} cannot" in said
    assert checkpoint.problem(copy.latest) is None
    assert progress(copy.latest)["epoch"] == 3
    assert progress(copy.previous)["epoch"] == 2


def test_a_damaged_checkpoint_does_not_take_the_place_of_the_one_before(copy):
    (copy.path / "latest.pdopt").write_bytes(b"damaged")
    for file in copy.path.glob("epoch_*"):
        file.unlink()
    quick_run(copy.path.parent, "Global.checkpoints=auto", "Global.epochs=3")
    assert checkpoint.problem(copy.latest) is None
    assert checkpoint.problem(copy.previous) is None


def test_best_weights_alone_are_not_deleted(copy):
    for prefix in copy.checkpoints():
        if prefix != copy.best:
            for file in checkpoint.own_files(prefix):
                file.unlink(missing_ok=True)
    before = contents(copy.path)
    with pytest.raises(UserError, match=r"holds best weights but no checkpoint.*Global.pretrained_model"):
        quick_run(copy.path.parent, "Global.checkpoints=auto")
    assert contents(copy.path) == before


def test_going_on_from_another_run_in_a_new_folder(finished, tmp_path):
    before = contents(finished.path)
    run = quick_run(tmp_path / "new", f"Global.checkpoints={finished.path}", "Global.epochs=4")
    assert epochs(run) == [1, 2, 3, 4]
    assert (run.path / "best_model.pdparams").is_file()
    assert checkpoint.problem(run.best) is None
    assert contents(finished.path) == before


def test_best_weights_that_are_lost_are_looked_for_anew(copy):
    for file in copy.path.glob("best_model.*"):
        file.unlink()
    quick_run(copy.path.parent, "Global.checkpoints=auto", "Global.epochs=4")
    assert progress(copy.latest)["best_epoch"] == 4
    assert (copy.path / "best_model.pdparams").is_file()


def test_an_epochs_checkpoint_that_a_crash_prevented_is_written_later(tmp_path, monkeypatch):
    save, arguments = checkpoint.save, ["Global.epochs=3", "Global.save_interval=2", "Global.checkpoints=auto"]

    def failing(prefix, *rest):
        if prefix.name == "epoch_2":
            raise KeyboardInterrupt
        save(prefix, *rest)

    monkeypatch.setattr(checkpoint, "save", failing)
    with pytest.raises(KeyboardInterrupt):
        quick_run(tmp_path, *arguments)
    monkeypatch.setattr(checkpoint, "save", save)
    run = quick_run(tmp_path, *arguments)
    assert progress(run.path / "epoch_2")["epoch"] == 2
    assert epochs(run) == [1, 2, 3]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_an_evaluation_that_is_not_a_number_ends_the_run(loss, tmp_path, capsys, monkeypatch):
    from ppeconv.experiment import parts as module

    evaluate, before = module.evaluate, {}

    def diverging(*arguments, **keywords):
        result = evaluate(*arguments, **keywords)
        if (tmp_path / NAME / "best_model.pdparams").is_file():
            before.update(contents(tmp_path / NAME))
            result.loss, result.confusion = loss, np.eye(10, dtype=int)
        return result

    monkeypatch.setattr(module, "evaluate", diverging)
    arguments = [f"Global.output_dir={tmp_path}", "Global.epochs=3", *QUICK]
    code, _, error = call(capsys, "train", "-c", NAME, "-o", *arguments)
    assert code == 2
    assert f"the evaluation loss became {loss} in epoch 2, step 8" in error
    after = contents(tmp_path / NAME)
    unchanged = before.keys() - {"train.log", "train.lock"}
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}


def test_weights_that_are_not_numbers_are_not_saved(finished, tmp_path):
    """The loss of the step before them was one."""
    run, experiment = Run(tmp_path), Experiment.open(finished.path)
    model, batches = experiment.model, experiment.parts.batches("test")
    trainer = SimpleNamespace(model=model, batches=batches, precision=Precision(), progress=Progress(2, 3, 7))
    model.parameters()[0].set_value(paddle.full_like(model.parameters()[0], float("nan")))
    with pytest.raises(UserError, match=r"features.0.weight is no longer finite after epoch 2, batch 3, step 7"):
        Checkpoints(run, None, None).run_started(trainer)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["results.csv", "latest.pdparams", "train.log", "curves.png", "config.yaml"])
@pytest.mark.parametrize("overwrite", [[], ["Global.overwrite=true"]])
def test_a_folder_in_place_of_a_file_is_a_sentence(name, overwrite, tmp_path):
    (tmp_path / NAME / name).mkdir(parents=True)
    with pytest.raises(UserError, match=rf"{name} is a folder, and a run has something else of that name"):
        quick_run(tmp_path, "Global.max_steps=1", *overwrite)
    assert [path.name for path in tmp_path.rglob("*")] == [NAME, name]


@pytest.mark.parametrize("overrides", [[], ["Global.overwrite=true"], ["Global.checkpoints=auto", "Global.epochs=4"]])
def test_a_second_training_is_refused(overrides, copy):
    before = contents(copy.path)
    with copy.lock() as lock:
        lock.take()
        with pytest.raises(
            UserError, match=rf"a training is under way in .* \(process {os.getpid()} on .*output_dir=DIR"
        ):
            quick_run(copy.path.parent, *overrides)
    assert contents(copy.path) == before


def test_a_folder_is_locked_while_a_run_trains_and_free_again_afterwards(tmp_path, monkeypatch):
    seen = []

    def look(prefix, *rest):
        with pytest.raises(UserError, match="a training is under way"), Run(prefix.parent).lock() as lock:
            lock.take()
        seen.append(prefix.name)

    monkeypatch.setattr(checkpoint, "save", look)
    run = quick_run(tmp_path, "Global.max_steps=1")
    assert set(seen) == {"latest", "best_model"}
    assert not (run.path / "train.lock").exists()


def test_a_lock_ends_with_its_process(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from ppeconv.engine.lock import Lock\n"
        "lock = Lock(Path(sys.argv[1]), 'busy', 'wait'); lock.take(); print('taken', flush=True); time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path / "lock"], stdout=subprocess.PIPE) as owner:
        owner.stdout.readline()
        with Lock(tmp_path / "lock", "busy", "wait") as lock:
            with pytest.raises(UserError, match=rf"^busy \(process {owner.pid} on .+\); wait$"):
                lock.take()
            owner.send_signal(signal.SIGKILL)
            owner.wait()
            lock.take()
            assert str(os.getpid()) in (tmp_path / "lock").read_text()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_worker_that_outlives_its_parent_does_not_hold_the_lock(tmp_path):
    first, second = (Lock(tmp_path / "lock", "busy", "wait") for _ in range(2))
    with first:
        first.take()
        worker = os.fork()
        if not worker:
            time.sleep(100)
            os._exit(0)
    with second:
        second.take()
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)


def test_the_folder_above_a_run_names_the_run(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").touch()
    with pytest.raises(UserError, match=r"is not a run folder: .*; did you mean .*mine\?"):
        Run(tmp_path).saved_config()
