"""The runtime onednn behind export, prediction and the function in this process."""

import platform

import numpy as np
import paddle
import pytest
import yaml

import ppeconv
from ppeconv import InProcess, Predictor, UserError, backend, create_model
from ppeconv.deployment.export import export
from ppeconv.deployment.runtimes import held_by, open_runtime
from ppeconv.operators.spconv import SPConv
from tests.deployment.test_deploy import used
from tests.deployment.test_export import save_digits
from tests.support.processes import python
from tests.support.runs import call, trained_run

pytestmark = [
    pytest.mark.skipif(not backend.available()[0], reason=backend.available()[1]),
    pytest.mark.skipif(paddle.__version__.startswith("2"), reason="Paddle 2 writes programs of another kind"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run on digits."""
    return trained_run(tmp_path_factory.mktemp("runs"), "Global.epochs=3")


def test_export_and_predict(run, tmp_path, capsys):
    code, _, errors = call(capsys, "export", "--run", run.path, "--to", "onednn")
    assert code == 0, errors
    folder = run.path / "inference"
    assert held_by(folder) == ["paddle", "onednn"]
    assert yaml.safe_load((folder / "inference.yml").read_text("utf-8"))["runtimes"] == ["onednn"]
    labels = save_digits(tmp_path / "images", 60)
    files = sorted((tmp_path / "images").iterdir())
    found = list(Predictor(folder, runtime="onednn").predict(files))
    assert np.mean([row.class_ids[0] == label for row, label in zip(found, labels, strict=True)]) > 0.9
    for ours, theirs in zip(found, Predictor(folder, runtime="paddle").predict(files), strict=True):
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
    assert call(capsys, "predict", "--model", folder, tmp_path / "images", "--runtime", "onednn")[0] == 0


def test_operators_take_the_form_for_a_runtime_that_fuses(tmp_path, monkeypatch):
    asked = []
    before = SPConv.deployed

    def noted(self, after, form=None):
        asked.append(form)
        return before(self, after, form)

    monkeypatch.setattr(SPConv, "deployed", noted)
    model = create_model("ResNet20", width=0.5, operator="SPConv")
    for folder, target, forms, form in (
        ("paddle", "paddle", None, None),
        ("onednn", "onednn", None, "gate_first"),
        ("told", "onednn", {"SPConv": "merged"}, "merged"),
    ):
        asked.clear()
        export(model, tmp_path / folder, [3, 16, 16], targets=[target], forms=forms)
        assert set(asked) == {form}


def test_in_process_equals_the_trained_network():
    model = used(create_model("ResNet20", width=0.5, operator="GhostConv"), 3, 16, 16)
    fast = InProcess(model, [3, 16, 16], threads=1)
    model.eval()
    images = paddle.randn([5, 3, 16, 16])
    expected = model(images).numpy()
    for found in (fast(images).numpy(), fast(images.numpy())):
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    model.train()
    model(images)
    assert np.abs(fast(images.numpy()) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_in_process_while_the_fast_layers_train():
    with backend.enabled():
        model = create_model("ResNet20", width=0.5)
        fast, images = InProcess(model, [3, 16, 16], threads=1), paddle.randn([4, 3, 16, 16])
        loss = model(images).sum() + fast(images).sum()
        loss.backward()
    model.eval()
    with paddle.no_grad():
        expected = model(images).numpy()
    np.testing.assert_allclose(InProcess(model, [3, 16, 16])(images.numpy()), expected, rtol=1e-4, atol=1e-5)


def test_another_device_is_a_sentence(tmp_path):
    export(create_model("LeNet"), tmp_path / "out", [1, 28, 28])
    with pytest.raises(UserError, match="the runtime onednn is for the CPU"):
        open_runtime(tmp_path / "out", "onednn", device="gpu")


def test_a_network_that_it_does_not_know_is_a_sentence(tmp_path):
    class Sorted(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.conv = paddle.nn.Conv2D(3, 4, 3)

        def forward(self, x):
            return self.conv(x).flatten(1).sort(axis=1)

    with pytest.raises(UserError, match="does not know the operation argsort"):
        export(Sorted(), tmp_path / "out", [3, 8, 8], targets=["onednn"])
    assert not (tmp_path / "out").exists()


def test_an_installation_without_the_library_is_a_sentence(tmp_path, monkeypatch):
    export(create_model("LeNet"), tmp_path / "out", [1, 28, 28])
    monkeypatch.setattr("ppeconv.backend.available", lambda: (False, "this is not an x86-64 CPU"))
    with pytest.raises(UserError, match="does not work here: this is not an x86-64 CPU"):
        open_runtime(tmp_path / "out", "onednn")


def test_widths_side_by_side(tmp_path):
    from ppeconv.deployment.widths import AnyWidthPredictor, export_widths

    model = ppeconv.create_model("LeNet3C1L", class_num=10, anywidth={"kind": "awn"})
    facts = {"class_names": list("0123456789"), "transform_ops": [{"Normalize": {"mean": [0.5], "std": [0.5]}}]}
    export_widths(model, tmp_path / "out", [1, 28, 28], [0.5, 1.0], facts, targets=["onednn"])
    predictor = AnyWidthPredictor(tmp_path / "out")
    assert predictor.width_for(1e9) == 1.0


# What belongs to the whole process and might be changed by a runtime. In a process of its own: in an older one holes in
# the heap, or another arena after a failed allocation, decide whether a block is mapped.
_A_PREDICTOR_AT_WORK = """
import ctypes, os, sys
import numpy as np
import paddle
from ppeconv import Predictor
from ppeconv.cpu.library import openmp

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]

def maps_large_blocks():
    block = libc.malloc(48 << 20)
    mapped = bool(ctypes.c_size_t.from_address(block - 8).value & 2)  # glibc's mark
    libc.free(block)
    return mapped

def process():
    computing = openmp.threads(), paddle.is_grad_enabled(), paddle.get_default_dtype(), paddle.get_device()
    return maps_large_blocks(), *computing, dict(os.environ), paddle._C_ops.relu

folder, runtime = sys.argv[1:]
images = np.zeros([2, 28, 28, 1], np.uint8)
with openmp.using_threads(3):
    before = process()
    assert before[:2] == (True, 3)
    for threads in (None, 1, 2):
        Predictor(folder, threads, runtime=runtime).probabilities(images)
        assert process() == before, (threads, process(), before)
    Predictor(folder, runtime=runtime, keep_freed_pages=True)
    assert process() == (False, *before[1:]), (process(), before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C allocator is not glibc's")
@pytest.mark.parametrize("runtime", ["paddle", "onednn"])
def test_a_predictor_changes_the_process_only_when_asked(runtime, tmp_path):
    export(create_model("LeNet", class_num=4, init="paddle"), tmp_path, [1, 28, 28], to=runtime)
    done = python(_A_PREDICTOR_AT_WORK, tmp_path, runtime)
    assert done.returncode == 0, done.stderr
