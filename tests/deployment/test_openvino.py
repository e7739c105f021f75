"""Exported networks in OpenVINO; skipped without the packages of the extra [openvino]."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import paddle
import pytest
import yaml

from ppeconv import UserError, create_model, list_operators
from ppeconv.deployment.export import export
from ppeconv.deployment.runtimes import open_runtime
from tests.support.runs import skip_without_bf16

for package in ("openvino", "paddle2onnx", "onnx", "onnxruntime"):
    pytest.importorskip(package, reason="the extra [openvino] is not installed")


@pytest.mark.parametrize(
    "operator",
    [
        pytest.param(name, marks=[] if name in ("SPConv", "OctaveConv") else pytest.mark.full)
        for name in list_operators()
    ],
)
def test_openvino_equals_eager(operator, tmp_path):
    model = create_model("ResNet20", width=0.5, operator=operator)
    model(paddle.randn([4, 3, 32, 32]))
    export(model, tmp_path / "out", [3, 32, 32], targets=["openvino"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["inference.onnx", "inference.yml"]
    assert yaml.safe_load((tmp_path / "out" / "inference.yml").read_text())["runtimes"] == ["openvino"]
    model.eval()
    runtime = open_runtime(tmp_path / "out", "openvino", threads=1)
    for batch in (1, 5):
        images = np.random.randn(batch, 3, 32, 32).astype("float32")
        expected = model(paddle.to_tensor(images)).numpy()
        assert np.abs(runtime(images) - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = create_model("ResNet20", width=0.5)
    model(paddle.randn([4, 3, 32, 32]))
    folder = tmp_path_factory.mktemp("exported")
    export(model, folder, [3, 32, 32], targets=["openvino"])
    return folder


def test_calls_from_several_threads_do_not_meet(exported):
    runtime = open_runtime(exported, "openvino", threads=1)
    batches = [np.random.randn(1 + index % 3, 3, 32, 32).astype("float32") for index in range(12)]
    expected = [runtime(images) for images in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(runtime, batches), expected, strict=True):
            np.testing.assert_array_equal(found, alone)


def test_bf16_is_near_float32(exported):
    skip_without_bf16()
    images = np.random.randn(5, 3, 32, 32).astype("float32")
    exact, rounded = (open_runtime(exported, "openvino", 1, precision=kind)(images) for kind in ("float32", "bf16"))
    difference = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 1e-5 < difference < 0.03


def test_what_openvino_does_not_do_is_a_sentence(exported, tmp_path):
    with pytest.raises(UserError, match="is for the CPU; got device 'gpu'"):
        open_runtime(exported, "openvino", device="gpu")
    with pytest.raises(UserError, match="--to openvino"):
        open_runtime(tmp_path, "openvino")
