"""Interrupted and resumed runs equal uninterrupted ones."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppeconv import UserError, files
from ppeconv.backend import cpu_name
from ppeconv.engine import checkpoint
from ppeconv.engine.interrupt import Stopped
from ppeconv.engine.run import Run
from ppeconv.engine.trainer import Trainer
from ppeconv.experiment import Experiment
from ppeconv.experiment.parts import Parts
from ppeconv.experiment.training import train
from tests.support.runs import digits_config, skip_without_bf16, trained_run

ROOT = Path(__file__).parents[2]
NAME = "lenet_spconv_digits"
LENGTH = ["Global.epochs=3", "Global.save_step_interval=5", "Global.ema=0.9", "Global.early_stop=50"]


def rows(run):
    """results.csv without the columns that are times."""
    with open(run.path / "results.csv", encoding="utf-8") as file:
        return [
            {key: value for key, value in row.items() if key not in ("ips", "seconds")} for row in csv.DictReader(file)
        ]


def assert_same(first, second):
    """Two runs' weights, optimizers, states and tables, bit for bit."""
    for suffix in (".pdparams", ".pdopt"):
        one, other = (checkpoint.read(run.path / f"latest{suffix}") for run in (first, second))
        assert_equal(one, other, suffix)
    one, other = (checkpoint.read(run.path / "latest.pdstates") for run in (first, second))
    assert_equal(one["average"], other["average"], "average")
    for progress in (one["progress"], other["progress"]):
        progress.pop("seconds")
    assert one["progress"] == other["progress"]
    assert rows(first) == rows(second)


def assert_equal(one, other, where):
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, np.ndarray):
        assert one.tobytes() == other.tobytes(), where
    else:
        assert one == other, where


def curve(run, tag, side="train"):
    from visualdl import LogReader

    reader = LogReader(file_path=str(run.path / "vdl" / side / "vdlrecords.1.log"))
    return [(point.id, point.value) for point in reader.get_data("scalar", tag)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run."""
    return trained_run(tmp_path_factory.mktemp("whole"), *LENGTH)


@pytest.mark.parametrize("stop", [1, 7, 23, 30])
def test_stopped_and_extended_run_equals_the_whole(stop, whole, tmp_path):
    trained_run(tmp_path, *LENGTH, f"Global.max_steps={stop}")
    run = trained_run(tmp_path, *LENGTH, "Global.checkpoints=auto")
    assert_same(run, whole)
    assert curve(run, "epoch/top1", "eval") == curve(whole, "epoch/top1", "eval") or stop in (1, 7, 30)
    assert curve(run, "step/loss") == curve(whole, "step/loss")


def kill_and_resume(tmp_path, moment, workers, count=1):
    """Start the real tool, kill it with SIGKILL some time after its first logged step, and resume it."""
    command = [
        sys.executable,
        ROOT / "tools" / "train.py",
        "-c",
        NAME,
        "-o",
        f"Global.output_dir={tmp_path}",
        *LENGTH,
        "Global.print_batch_step=1",
        f"DataLoader.Train.loader.num_workers={workers}",
        "Global.checkpoints=auto",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]}
    killed = False
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, start_new_session=True
    ) as process:
        for line in process.stdout:
            if "[Iter: " in line:
                time.sleep(moment)
                os.killpg(process.pid, signal.SIGKILL)
                killed = True
                break
    assert killed
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return Run(tmp_path / NAME), done.stdout


@pytest.mark.parametrize(("moment", "workers"), [(0.9, 0), (0.4, 2)])
def test_killed_run_resumes_bit_for_bit(moment, workers, whole, tmp_path):
    run, _ = kill_and_resume(tmp_path, moment, workers)
    assert_same(run, whole)
    assert curve(run, "step/loss") == curve(whole, "step/loss")


@pytest.mark.full
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("index", range(10))
def test_killed_at_random_moments(index, workers, whole, tmp_path):
    moment = np.random.default_rng(index).uniform(0, 1.6)
    run, _ = kill_and_resume(tmp_path, moment, workers)
    assert_same(run, whole)


def test_auto_starts_fresh_then_says_that_it_is_finished(tmp_path, capsys):
    run = trained_run(tmp_path, "Global.checkpoints=auto", "Global.max_steps=3")
    before = (run.path / "latest.pdparams").stat().st_mtime_ns
    trained_run(tmp_path, "Global.checkpoints=auto", "Global.max_steps=3")
    assert "is finished: " in capsys.readouterr().out
    assert (run.path / "latest.pdparams").stat().st_mtime_ns == before


def test_a_finished_run_gets_its_lost_config_back(tmp_path):
    run = trained_run(tmp_path, "Global.max_steps=1")
    config, weights = (run.path / "config.yaml").read_text("utf-8"), (run.path / "latest.pdparams").read_bytes()
    (run.path / "config.yaml").unlink()
    trained_run(tmp_path, "Global.max_steps=1", "Global.checkpoints=auto")
    assert (run.path / "config.yaml").read_text("utf-8") == config.replace("checkpoints: null", "checkpoints: auto")
    assert (run.path / "latest.pdparams").read_bytes() == weights


def test_best_weights_are_no_checkpoint_to_go_on_from(tmp_path):
    run = trained_run(tmp_path, "Global.max_steps=1")
    with pytest.raises(UserError, match=r"best_model holds weights alone; .* Global\.pretrained_model"):
        trained_run(tmp_path / "other", "Global.max_steps=2", f"Global.checkpoints={run.best}")


def test_a_damaged_checkpoint_gives_way_to_the_one_before(whole, tmp_path, capsys):
    run = trained_run(tmp_path, *LENGTH, "Global.max_steps=30")
    with open(run.path / "latest.pdopt", "r+b") as file:
        file.seek(200)
        file.write(b"\0\1\2\3")
    assert "damaged" in checkpoint.problem(run.latest)
    resumed = trained_run(tmp_path, *LENGTH, "Global.checkpoints=auto")
    assert "resumed from" in capsys.readouterr().out
    assert_same(resumed, whole)


def test_two_damaged_checkpoints_are_an_error_not_a_fresh_start(tmp_path):
    run = trained_run(tmp_path, *LENGTH, "Global.max_steps=30")
    for name in ("latest", "previous"):
        (run.path / f"{name}.pdparams").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"no checkpoint to resume from.*damaged.*damaged"):
        trained_run(tmp_path, *LENGTH, "Global.checkpoints=auto")


@pytest.mark.parametrize("form", ["{run}", "{run}/latest", "{run}/latest.pdparams", "{run}/epoch_1"])
def test_ways_to_name_a_checkpoint(form, whole, tmp_path):
    run = trained_run(tmp_path, *LENGTH, "Global.max_steps=30", "Global.save_interval=1")
    resumed = trained_run(tmp_path, *LENGTH, f"Global.checkpoints={form.format(run=run.path)}")
    assert_same(resumed, whole)


@pytest.mark.parametrize("cut", range(2, 9))
def test_saving_cut_short_at_any_rename_loses_nothing(cut, tmp_path, monkeypatch):
    """Whatever rename a crash hits, the new checkpoint or the old one is found whole."""
    prefix, keep = tmp_path / "latest", tmp_path / "previous"
    parts = {suffix: {"a": np.arange(3)} for suffix in (".pdparams", ".pdopt", ".pdstates")}
    for value in (1, 2):
        checkpoint.save(prefix, {suffix: {"a": np.full(3, value)} for suffix in parts}, keep)
    real, calls = os.replace, []

    def failing(source, target):
        calls.append(source)
        if len(calls) == cut:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(prefix, {suffix: {"a": np.full(3, 3)} for suffix in parts}, keep)
    monkeypatch.setattr(os, "replace", real)
    checkpoint.finish(prefix)
    assert checkpoint.problem(prefix) is None
    assert checkpoint.problem(keep) is None
    assert checkpoint.read(tmp_path / "latest.pdopt")["a"][0] == 3
    assert checkpoint.read(tmp_path / "previous.pdopt")["a"][0] == 2
    assert not list(tmp_path.glob("*.writing*"))


def test_saving_cut_short_while_writing_keeps_the_old(tmp_path, monkeypatch):
    prefix = tmp_path / "latest"
    checkpoint.save(prefix, {".pdparams": {"a": np.ones(3)}, ".pdopt": {}})
    real = files.write

    def failing(path, payload):
        if path.suffix == ".pdopt":
            raise KeyboardInterrupt
        real(path, payload)

    monkeypatch.setattr(files, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(prefix, {".pdparams": {"a": np.zeros(3)}, ".pdopt": {}})
    assert checkpoint.problem(prefix) is None
    assert checkpoint.read(tmp_path / "latest.pdparams")["a"][0] == 1


def manifests():
    """What may stand where `save` puts a manifest before it renames it: what a kill left, and oddities."""
    whole = b'{"format": 1, "sha256": {".pdparams": "0"}, "keep": null}'
    yield from (whole[:length] for length in range(0, len(whole), 5))
    yield from (b"[]", b"null", b"{}", b"\xff", b"[" * 100_000, b'{"format": 1, "sha256": {".pdparams": "0"}}')
    yield from (whole.replace(b"null", keep) for keep in (b"3", b'"../x"', b'""', b"[]", b'"/tmp/x"'))
    yield from (b'{"format": 1, "sha256": %b, "keep": null}' % sums for sums in (b"{}", b"[]", b'{"../x": "0"}'))


def test_a_staged_manifest_that_cannot_be_read_is_discarded(tmp_path):
    prefix, keep = tmp_path / "folder" / "latest", tmp_path / "folder" / "previous"
    prefix.parent.mkdir()
    (tmp_path / "x").write_text("mine", "utf-8")
    for value, content in enumerate(manifests()):
        checkpoint.save(prefix, {".pdparams": {"a": np.full(3, value)}}, keep)
        for name in ("latest.writing.json", "latest.writing.json.writing", "latest.writing.pdparams"):
            (prefix.parent / name).write_bytes(content)
        assert checkpoint.problem(prefix) is None, content
        assert checkpoint.read(prefix.parent / "latest.pdparams")["a"][0] == value
    assert (tmp_path / "x").read_text("utf-8") == "mine"
    checkpoint.save(prefix, {".pdparams": {}}, keep)
    assert sorted(path.suffix for path in prefix.parent.iterdir()) == [".json", ".json", ".pdparams", ".pdparams"]


@pytest.mark.parametrize("kills", range(1, 5))
def test_a_manifest_is_whole_under_its_name_or_not_there(kills, tmp_path, monkeypatch):
    """Killed in the midst of writing any file: what is there is the old checkpoint, and saving goes on."""
    prefix = tmp_path / "latest"
    parts = {".pdparams": {"a": np.ones(3)}, ".pdopt": {}, ".pdstates": {}}
    checkpoint.save(prefix, parts)
    fsync, calls = os.fsync, []

    def failing(descriptor):
        calls.append(descriptor)
        if len(calls) == kills:
            os.ftruncate(descriptor, 0)
            raise KeyboardInterrupt
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(prefix, {**parts, ".pdparams": {"a": np.zeros(3)}})
    assert checkpoint.problem(prefix) is None
    assert checkpoint.read(tmp_path / "latest.pdparams")["a"][0] == 1
    checkpoint.save(prefix, {**parts, ".pdparams": {"a": np.zeros(3)}})
    assert checkpoint.read(tmp_path / "latest.pdparams")["a"][0] == 0
    assert len(list(tmp_path.iterdir())) == 4


def test_a_finished_run_made_longer_follows_the_longer_schedule(tmp_path):
    trained_run(tmp_path, "Global.epochs=1")
    run = trained_run(tmp_path, "Global.epochs=4", "Global.checkpoints=auto")
    expected = [2e-3 * (1 + np.cos(np.pi * epoch / 4)) / 2 for epoch in (2, 3, 4)]
    np.testing.assert_allclose([float(row["lr"]) for row in rows(run)[1:]], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("DataLoader.Train.sampler.batch_size=32", "epoch 1, batch 14, step 59"),
        ("DataLoader.Train.sampler.batch_size=100", "epoch 1, batch 4, step 19"),
        ("Global.update_freq=4", "epoch 1, batch 4, step 7"),
    ],
)
def test_a_run_resumes_at_its_place_with_other_batches(change, place, tmp_path, capsys):
    """Stopped after 23 + 7 batches of 64 of the 1,437 images; the schedule goes on from the same place of its curve."""
    trained_run(tmp_path, "Global.epochs=2", "Global.max_steps=30")
    run = trained_run(tmp_path, "Global.epochs=2", "Global.checkpoints=auto", change)
    assert f"resumed from {run.latest}: {place}" in capsys.readouterr().out
    assert [row["epoch"] for row in rows(run)] == ["1", "2"]
    assert float(rows(run)[-1]["lr"]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("size", [32, 48, 64, 100, 1000])
def test_an_epoch_that_is_trained_stays_so_with_other_batches(size, tmp_path, monkeypatch):
    """Stopped before its evaluation; 23 batches of 64 are 22.5 full ones."""

    def stop(self):
        raise Stopped(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_close_epoch", stop)
        with pytest.raises(Stopped):
            trained_run(tmp_path, "Global.epochs=2")
    run = trained_run(tmp_path, "Global.checkpoints=auto", f"DataLoader.Train.sampler.batch_size={size}")
    assert [row["epoch"] for row in rows(run)] == ["1"]


def test_a_run_taken_up_on_another_cpu_says_so_and_remembers_both(tmp_path, capsys, monkeypatch):
    trained_run(tmp_path, "Global.max_steps=3")
    monkeypatch.setattr("ppeconv.backend.cpu_name", lambda: "Another CPU, AVX-512")
    run = trained_run(tmp_path, "Global.max_steps=6", "Global.checkpoints=auto")
    assert "equal to an unbroken run but for rounding (cpu " in capsys.readouterr().out
    trained_run(tmp_path, "Global.max_steps=9", "Global.checkpoints=auto")
    computed_by = checkpoint.read(run.path / "latest.pdstates")["listeners"]["Checkpoints"]["computed_by"]
    assert [entry["cpu"] for entry in computed_by] == [cpu_name(), "Another CPU, AVX-512"]


def test_a_run_taken_up_in_another_precision_says_so(tmp_path, capsys):
    skip_without_bf16()
    trained_run(tmp_path, "Global.max_steps=3")
    trained_run(tmp_path, "Global.max_steps=6", "Global.checkpoints=auto", "AMP.use_amp=true")
    said = capsys.readouterr().out
    assert "equal to an unbroken run but for rounding (precision float32 before, bf16 now)" in said


def test_a_run_taken_up_with_other_settings_says_which(tmp_path, capsys):
    trained_run(tmp_path, "Global.max_steps=3")
    trained_run(
        tmp_path,
        *("Global.checkpoints=auto", "Global.max_steps=6", "Global.seed=7", "Global.print_batch_step=1"),
        *("DataLoader.Train.loader.num_workers=1", "Loss.Train=[{CELoss: {epsilon: 0.1}}]"),
    )
    said = next(
        line for line in capsys.readouterr().out.splitlines() if "warning: going on with other settings" in line
    )
    assert said.endswith(
        "settings: Global.seed 42 before, 7 now; Global.max_steps 3 before, 6 now; Loss.Train "
        "[{CELoss: {weight: 1.0}}] before, [{CELoss: {epsilon: 0.1}}] now"
    )


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("", "Some CPU, AVX-512"),
        ("cpu family : 26\nmodel\t: 2\n", "Some CPU (family 26, model 2), AVX-512"),
        ("cpu family :\nmodel : 2\n", "Some CPU, AVX-512"),
    ],
)
def test_a_cpu_is_named_with_its_generation_and_newest_instruction_set(tmp_path, lines, name):
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor : 0\n{lines}model name : Some CPU\nflags : sse4_1 avx2 avx512f\n\nprocessor : 1\n")
    assert cpu_name(file) == name


def test_a_run_resumes_with_other_listeners(tmp_path):
    """On a terminal there is a progress bar more, and VisualDL may be switched off."""
    trained_run(tmp_path, "Global.max_steps=5", "Global.ema=0.9")
    run = trained_run(tmp_path, "Global.checkpoints=auto", "Global.use_visualdl=false")
    assert len(rows(run)) == 1


def test_another_network_is_refused(tmp_path):
    run = trained_run(tmp_path, "Global.max_steps=2")
    config = digits_config(
        tmp_path, f"Global.checkpoints={run.path}", "Global.overwrite=true", name="lenet_conv_digits"
    )
    with pytest.raises(UserError, match=r"of another network.*Global.pretrained_model"):
        train(Parts(config), Run(tmp_path / "other"))


def test_plain_paddle_reads_the_weights(whole):
    model = Experiment.open(whole.path).model
    loaded = paddle.load(str(whole.path / "best_model.pdparams"))
    missing, unexpected = model.set_state_dict(loaded)
    assert not missing
    assert not unexpected
