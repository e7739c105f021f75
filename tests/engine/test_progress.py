"""What is to be seen while a network trains and is evaluated: a bar on a terminal, lines elsewhere and in the log."""

import contextlib
import os
import re
import sys
import threading
from functools import partialmethod

import pytest
import tqdm

from ppeconv.engine import progress
from ppeconv.experiment import Experiment
from tests.support.runs import call, trained_run

pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
QUICK = ["Global.use_visualdl=false", "DataLoader.Train.sampler.batch_size=360", "Global.print_batch_step=1"]


@contextlib.contextmanager
def terminal(columns, monkeypatch):
    """Standard output as a terminal of so many columns; a list that holds what it showed once the block has ended."""
    import fcntl
    import struct
    import termios

    screen, device = pty.openpty()
    fcntl.ioctl(device, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    shown = []

    def read():
        with contextlib.suppress(OSError):
            while part := os.read(screen, 4096):
                shown.append(part.decode())

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(device, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        yield shown
    reader.join()
    os.close(screen)


@pytest.mark.parametrize("columns", [0, 80])
def test_training_on_a_terminal(columns, tmp_path, monkeypatch):
    monkeypatch.setattr(tqdm.tqdm, "__init__", partialmethod(tqdm.tqdm.__init__, mininterval=0))
    with terminal(columns, monkeypatch) as shown:
        run = trained_run(tmp_path, *QUICK)
    screen, log = "".join(shown), (run.path / "train.log").read_text("utf-8")
    assert ("[Train][Epoch 1/1][Iter: 4/4]" in screen) == (columns == 0)
    assert ("epoch 1/1:" in screen) == ("[Eval][Epoch 1]:" in screen) == (columns > 0)
    bars = re.findall(r"epoch 1/1: \d/4 .*, eta 0:\d\d:\d\d, loss \d+\.\d{3}, top1 \d\.\d{3}, lr ", screen)
    assert bool(bars) == (columns > 0)
    assert "[Eval][Epoch 1][best metric" in screen
    assert log.count("[Train][Epoch 1/1][Iter: ") == 4


def test_evaluation_says_how_far_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    run = trained_run(tmp_path, *QUICK, "DataLoader.Eval.sampler.batch_size=100")
    log = (run.path / "train.log").read_text("utf-8")
    for batch in range(1, 5):
        assert f"[Eval][Epoch 1][Iter: {batch}/4]ips: " in log
    said = call(capsys, "eval", "--run", run.path)[1]
    assert said.index("[Eval][Iter: 1/4]ips: ") < said.index("[Eval][Iter: 4/4]") < said.index("[Eval][Avg]top1: ")
    list(Experiment.open(run.path).parts.plain_images("test", head="[Eval][int8]"))
    assert "[Eval][int8][Iter: 12/12]" in capsys.readouterr().out


def test_a_short_evaluation_says_no_more_than_its_result(tmp_path, capsys):
    run = trained_run(tmp_path, *QUICK, "Global.max_steps=1")
    assert "[Eval][Iter: " not in call(capsys, "eval", "--run", run.path)[1]
