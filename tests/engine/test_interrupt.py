"""Ctrl-C, SIGTERM and SIGHUP: one sentence, nothing lost, the exit code that shells expect."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppeconv.engine import checkpoint, interrupt
from ppeconv.engine.trainer import Trainer
from ppeconv.errors import UserError, WorkersLost
from tests.engine.test_resume import assert_same
from tests.support.runs import call, trained_run

ROOT = Path(__file__).parents[2]
NAME = "lenet_spconv_digits"
LENGTH = ["Global.epochs=2"]


@pytest.fixture(autouse=True)
def heard():
    """Signals are not ignored, as they are where the tests were started in the background."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in interrupt.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing stops."""
    return trained_run(tmp_path_factory.mktemp("whole"), *LENGTH)


def stop_in(monkeypatch, batch, number):
    """A signal arrives in the middle of that batch of the first epoch."""
    original = Trainer._gradients

    def gradients(self, *images_and_labels):
        if self.progress.batch + 1 == batch:
            os.kill(os.getpid(), number)
        return original(self, *images_and_labels)

    monkeypatch.setattr(Trainer, "_gradients", gradients)


@pytest.mark.parametrize(
    ("number", "code", "name"), [("SIGINT", 130, "Ctrl-C"), ("SIGTERM", 143, "SIGTERM"), ("SIGHUP", 129, "SIGHUP")]
)
def test_a_training_finishes_its_step_saves_and_says_how_to_go_on(number, code, name, whole, tmp_path, capsys):
    folder = f"Global.output_dir={tmp_path}"
    with pytest.MonkeyPatch.context() as patched:
        stop_in(patched, 5, getattr(signal, number))
        got, _, errors = call(capsys, "train", "-c", NAME, "-o", folder, *LENGTH, "Global.overwrite=true")
    assert got == code
    assert errors == (
        f"ppeconv: stopped by {name}; go on with: python tools/train.py -c {NAME} -o {folder} {LENGTH[0]} "
        "Global.checkpoints=auto\n"
    )
    run = whole.__class__(tmp_path / NAME)
    assert checkpoint.read(run.path / "latest.pdstates")["progress"]["step"] == 5
    assert call(capsys, "train", "-c", NAME, "-o", folder, *LENGTH, "Global.checkpoints=auto")[0] == 0
    assert_same(run, whole)


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_training_stopped_while_it_evaluates_evaluates_anew(epoch, whole, tmp_path, monkeypatch):
    from ppeconv.data.batches import Batches

    original = Batches.epoch
    calls = []

    def watched(self, *arguments, **options):
        if not self.shuffle:
            calls.append(self)
            if len(calls) == epoch:
                os.kill(os.getpid(), signal.SIGTERM)
        yield from original(self, *arguments, **options)

    monkeypatch.setattr(Batches, "epoch", watched)
    with pytest.raises(interrupt.Stopped), interrupt.listening():
        trained_run(tmp_path, *LENGTH)
    run = trained_run(tmp_path, *LENGTH, "Global.checkpoints=auto")
    assert_same(run, whole)


def test_a_sum_of_several_batches_is_finished_first(tmp_path, monkeypatch):
    stop_in(monkeypatch, 8, signal.SIGTERM)
    with pytest.raises(interrupt.Stopped), interrupt.listening():
        trained_run(tmp_path, "Global.update_freq=3")
    states = checkpoint.read(tmp_path / NAME / "latest.pdstates")
    assert (states["progress"]["step"], states["progress"]["batch"]) == (3, 9)


def test_an_error_that_stands_for_a_signal_is_taken_for_it():
    def fail():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except interrupt.Stopped:
            raise OSError("what Paddle's C++ code makes of it") from None

    with pytest.raises(interrupt.Stopped) as stopped, interrupt.listening():
        fail()
    assert stopped.value.exit_code == 143
    with pytest.raises(interrupt.Stopped) as stopped, interrupt.listening(), interrupt.advising("go on"):
        fail()
    assert str(stopped.value) == "stopped by SIGTERM; go on"


def test_the_innermost_advice_counts():
    with pytest.raises(interrupt.Stopped) as stopped, interrupt.advising("outer"), interrupt.advising("inner"):
        raise interrupt.Stopped(signal.SIGINT)
    assert str(stopped.value) == "stopped by Ctrl-C; inner"
    with pytest.raises(UserError, match="as it was"), interrupt.advising("outer"):
        raise UserError("as it was")


def test_a_refusal_stays_a_refusal():
    def fail():
        os.kill(os.getpid(), signal.SIGTERM)
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="disk"), interrupt.listening(), interrupt.waiting():
        fail()


def test_workers_that_a_signal_reached_too_do_not_hide_it():
    def fail():
        os.kill(os.getpid(), signal.SIGTERM)
        raise WorkersLost("a process that prepares batches has ended")

    with pytest.raises(interrupt.Stopped), interrupt.listening(), interrupt.waiting():
        fail()


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in interrupt.SIGNALS]
    with interrupt.listening():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in interrupt.SIGNALS] == before
    assert not interrupt.asked()


def test_a_training_whose_output_nobody_reads_any_more_saves_and_says_so(tmp_path):
    overrides = f"Global.output_dir={tmp_path} Global.epochs=3 Global.print_batch_step=1"
    line = f"'{sys.executable}' -W ignore tools/train.py -c {NAME} -o {overrides} | sed -u '/Iter: 3/q'"
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 141, done.stderr
    assert done.stderr.startswith(f"ppeconv: stopped by SIGPIPE; go on with: python tools/train.py -c {NAME}")
    assert len(done.stderr.splitlines()) == 1
    states = checkpoint.read(tmp_path / NAME / "latest.pdstates")
    assert states["progress"]["step"] >= 3


def test_what_the_process_was_started_to_ignore_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupt.listening():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def started(tmp_path, workers, *more):
    command = [sys.executable, "-W", "ignore", "tools/train.py", "-c", NAME, "-o", f"Global.output_dir={tmp_path}"]
    loader = f"DataLoader.Train.loader.num_workers={workers}"
    return subprocess.Popen(
        [*command, *LENGTH, loader, "Global.print_batch_step=1", "Global.checkpoints=auto", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def stopped_in_training(tmp_path, workers, number, wait):
    """Exit code and errors of a training that gets a signal some seconds after its first step."""
    process = started(tmp_path, workers)
    for line in process.stdout:
        if "[Iter: " in line:
            break
    time.sleep(wait)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_a_process_with_workers_ends_with_one_sentence(whole, tmp_path):
    code, errors = stopped_in_training(tmp_path, 2, signal.SIGTERM, 0.1)
    assert code == 143
    assert errors.startswith("ppeconv: stopped by SIGTERM; go on with: ")
    assert errors.count("\n") == 1
    assert_same(trained_run(tmp_path, *LENGTH, "Global.checkpoints=auto"), whole)


@pytest.mark.full
@pytest.mark.parametrize("case", range(20))
def test_signals_at_random_moments(case, whole, tmp_path):
    moment = random.Random(f"{os.environ.get('PPECONV_NEW_CASES')}{case}")
    number = moment.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    code, errors = stopped_in_training(tmp_path, case % 3, number, moment.uniform(0, 2))
    assert code in (0, 128 + number)
    assert errors.count("\n") == (code != 0)
    assert_same(trained_run(tmp_path, *LENGTH, "Global.checkpoints=auto"), whole)
