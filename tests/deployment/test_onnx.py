"""Export to ONNX and to 8 bits; skipped without the packages of the extra [onnx]."""

import hashlib
import logging
import os
import re
import subprocess
import sys

import numpy as np
import paddle
import pytest
import yaml
from paddle import nn

from ppeconv import Predictor, create_model, create_operator, list_operators
from ppeconv.deployment.accuracy import compared
from ppeconv.deployment.export import export
from ppeconv.deployment.runtimes import held_by, open_runtime
from ppeconv.deployment.runtimes.onnx import OnnxRuntime
from ppeconv.deployment.runtimes.paddle import PaddleRuntime
from ppeconv.deployment.tune import forms_of, tune
from ppeconv.deployment.widths import AnyWidthPredictor, export_widths
from ppeconv.errors import UserError
from tests.deployment.test_export import Detector, save_digits
from tests.support.runs import call, trained_run

onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
for package in ("paddle2onnx", "onnxruntime"):
    pytest.importorskip(package, reason="the extra [onnx] is not installed")


@pytest.mark.parametrize(
    "operator",
    [
        pytest.param(name, marks=[] if name in ("SPConv", "MixConv", "ShuffleUnitV2") else pytest.mark.full)
        for name in list_operators()
    ],
)
def test_onnx_equals_eager(operator, tmp_path):
    model = create_model("ResNet20", width=0.5, operator=operator)
    model(paddle.randn([4, 3, 32, 32]))
    export(model, tmp_path / "out", [3, 32, 32], targets=["onnx"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["inference.onnx", "inference.yml"]
    (opset,) = onnx.load(tmp_path / "out" / "inference.onnx").opset_import
    assert yaml.safe_load((tmp_path / "out" / "inference.yml").read_text())["opset"] == opset.version
    model.eval()
    runtime = open_runtime(tmp_path / "out", threads=1)
    for batch in (1, 5):
        images = np.random.randn(batch, 3, 32, 32).astype("float32")
        expected = model(paddle.to_tensor(images)).numpy()
        assert np.abs(runtime(images) - expected).max() <= 1e-5 * np.abs(expected).max()


_PADDLES_OWN_WAY = """
import sys, numpy as np, onnxruntime, paddle, ppeconv
operator, file = sys.argv[1:]
model = ppeconv.create_model("ResNet20", width=0.5, operator=operator)
model(paddle.randn([4, 3, 32, 32]))
model.eval()
spec = paddle.static.InputSpec([None, 3, 32, 32], "float32", "image")
paddle.onnx.export(ppeconv.deploy(model), file, input_spec=[spec], opset_version=13, optimize_tool="None")
images = np.random.randn(3, 3, 32, 32).astype("float32")
(found,) = onnxruntime.InferenceSession(file + ".onnx").run(None, {"image": images})
expected = model(paddle.to_tensor(images)).numpy()
assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
"""


@pytest.mark.parametrize(
    "operator", [pytest.param(name, marks=[] if name == "CompConv" else pytest.mark.full) for name in list_operators()]
)
def test_paddles_own_export_converts_deployed_networks(operator, tmp_path):
    """In a process of its own, which paddle2onnx ends at an operation that it does not know."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PADDLES_OWN_WAY, operator, str(tmp_path / "network")],
        env={**os.environ, "POLYGRAPHY_AUTOINSTALL_DEPS": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_several_outputs(tmp_path):
    model = Detector(lambda features, boxes, scores: {"scores": scores, "maps": [features, boxes]})
    model(paddle.randn([4, 3, 8, 8]))
    assert export(model, tmp_path / "out", [3, 8, 8], to="onnx") <= 1e-5
    assert yaml.safe_load((tmp_path / "out" / "inference.yml").read_text())["outputs"] == ["maps.0", "maps.1", "scores"]


def test_all_targets_of_a_trained_network(tmp_path, capsys):
    run = trained_run(tmp_path / "runs", "Global.epochs=3")
    code, text, _ = call(capsys, "export", "--run", run.path, "--to", "paddle,onnx,int8")
    assert code == 0
    assert held_by(run.path / "inference") == ["paddle", "onednn", "onnx", "int8", "openvino"]
    before, after = map(float, re.search(r"int8: top1 ([\d.]+) before, ([\d.]+) after", text).groups())
    assert after >= before - 0.01
    labels = save_digits(tmp_path / "images", 60)
    for runtime in ("paddle", "onednn", "onnx", "int8"):
        found = Predictor(run.path / "inference", 1, runtime=runtime).predict(sorted((tmp_path / "images").iterdir()))
        assert np.mean([row.class_ids[0] == label for row, label in zip(found, labels, strict=True)]) > 0.9
    folder = run.path / "inference"
    assert call(capsys, "predict", "--model", folder, tmp_path / "images", "--runtime", "int8")[0] == 0
    code, _, errors = call(
        capsys, "predict", "--model", folder, tmp_path / "images", "--runtime", "onnx", "--precision", "bf16"
    )
    assert (code, "'onnx' does not compute in bf16; paddle, onednn, openvino do" in errors) == (2, True)


def test_several_widths(tmp_path):
    model = create_model("LeNet3C1L", width=0.5, anywidth={"kind": "awn"})
    model(paddle.randn([4, 1, 28, 28]))
    facts = {"class_names": list("0123456789"), "transform_ops": [{"Normalize": {"mean": [0.5], "std": [0.5]}}]}
    differences = export_widths(model, tmp_path, [1, 28, 28], [0.25, 1.0], facts, targets=["onnx", "paddle"])
    assert max(differences.values()) <= 1e-5
    assert yaml.safe_load((tmp_path / "widths.yml").read_text("utf-8"))["runtime"] == "onnx"
    image = [np.random.randint(0, 255, (28, 28, 1), np.uint8)]
    scores = []
    for runtime, kind in ((None, OnnxRuntime), ("paddle", PaddleRuntime)):
        predictor = AnyWidthPredictor(tmp_path, runtime=runtime)
        assert {type(network.runtime) for network in predictor.predictors.values()} == {kind}
        scores.append(next(predictor.predict(image, budget_ms=1e-6)).scores)
    np.testing.assert_allclose(*scores, rtol=1e-4)


def test_tune_on_onnx_runtime(tmp_path):
    model = nn.Sequential(nn.Conv2D(3, 8, 1), create_operator("GroupConv", 8, 8, 3, padding=1, shuffle=True))
    for runtime in ("onnx", "int8"):
        (row,) = tune(model, [3, 9, 8], runtime, batch=2)
        assert row.milliseconds.keys() == {"separate", "merged"}
    export(model, tmp_path / "out", [3, 9, 8], targets=["onnx"], forms=forms_of([row]))


def test_quantisation_is_quiet_and_leaves_the_logs_as_they_were(tmp_path, capfd, caplog):
    model = nn.Sequential(nn.Conv2D(3, 8, 3), nn.BatchNorm2D(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    images = [np.random.randn(4, 3, 8, 8).astype("float32") for _ in range(3)]
    level = logging.getLogger().level
    export(model, tmp_path / "out", [3, 8, 8], to=["int8"], calibration=iter(images))
    said = capfd.readouterr()
    assert "WARNING" not in said.out + said.err
    assert "[W:" not in said.out + said.err
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert logging.getLogger().level == level


@pytest.mark.parametrize(("after", "much"), [(0.95, False), (0.9, False), (0.895, False), (0.83, True)])
def test_a_fall_of_accuracy_is_said_in_points(after, much):
    text, warned = compared("int8", 0.9, after)
    assert f"top1 0.90000 before, {after:.5f} after" in text
    assert f"{100 * (after - 0.9):+.2f} points" in text
    assert warned == much == ("keep float32" in text)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_weights_in_other_files_are_not_read(runtime, tmp_path):
    """Such as one named by a manifest that somebody else wrote, whose checksums are right."""
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="the extra [openvino] is not installed")
    folder = tmp_path / "out"
    export(create_model("LeNet"), folder, [1, 28, 28], targets=["onnx"])
    (tmp_path / "private").write_bytes(bytes(1 << 20))
    file = folder / "inference.onnx"
    network = onnx.load(file)
    tensors = [a.t for node in network.graph.node for a in node.attribute if a.HasField("t")]
    tensor = max([*tensors, *network.graph.initializer], key=lambda tensor: len(tensor.raw_data))
    onnx.external_data_helper.set_external_data(tensor, "../private", 0, len(tensor.raw_data))
    tensor.ClearField("raw_data")
    file.write_bytes(network.SerializeToString())
    facts = yaml.safe_load((folder / "inference.yml").read_text("utf-8"))
    facts["sha256"] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}
    (folder / "inference.yml").write_text(yaml.safe_dump(facts), "utf-8")
    with pytest.raises(UserError, match="asks for weights from another file"):
        open_runtime(folder, runtime)


def test_running_takes_onnx_runtime_alone(tmp_path, monkeypatch):
    export(create_model("LeNet"), tmp_path / "out", [1, 28, 28], targets=["onnx"])
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert open_runtime(tmp_path / "out", "onnx")(np.zeros([1, 1, 28, 28], "float32")).shape == (1, 10)
