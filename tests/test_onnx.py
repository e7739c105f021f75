"""Export to ONNX and to 8 bits; skipped without the packages of the extra [onnx]."""

import numpy as np
import paddle
import pytest
import yaml

from ppeconv import Predictor, create_model, list_operators
from ppeconv.deployment.export import export
from ppeconv.deployment.runtimes import held_by, open_runtime
from tests.runs import call, trained_run
from tests.test_export import save_digits

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


def test_all_targets_of_a_trained_network(tmp_path, capsys):
    run = trained_run(tmp_path / "runs", "Global.epochs=3")
    code, text, _ = call(capsys, "export", "--run", run.path, "--to", "paddle,onnx,int8")
    assert code == 0
    assert held_by(run.path / "inference") == ["paddle", "onnx", "int8"]
    before, after = (float(word) for word in text.split("int8: top1 ")[1].replace(",", "").split() if word[0] == "0")
    assert after >= before - 0.01
    labels = save_digits(tmp_path / "images", 60)
    for runtime in held_by(run.path / "inference"):
        found = Predictor(run.path / "inference", 1, runtime=runtime).predict(sorted((tmp_path / "images").iterdir()))
        assert np.mean([row.class_ids[0] == label for row, label in zip(found, labels, strict=True)]) > 0.9
    folder = run.path / "inference"
    assert call(capsys, "predict", "--model", folder, tmp_path / "images", "--runtime", "int8")[0] == 0
