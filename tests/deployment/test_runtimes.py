"""Every registered runtime, one's own too, keeps what `Runtime` promises; skipped without its package."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from paddle import nn
from PIL import Image

from ppeconv import Predictor, UserError, backend, create_model, registry
from ppeconv.deployment.export import export
from ppeconv.deployment.runtimes import by_preference, held_by, open_runtime
from ppeconv.extras import installed
from tests.support.runs import call

RUNTIMES = by_preference()
OF_ONNX = "paddle2onnx", "onnx", "onnxruntime"


def usable(name):
    """Skip unless the runtime works here."""
    package = RUNTIMES[name].package
    for needed in (package, *OF_ONNX) if package else ():
        if not installed(needed):
            pytest.skip(f"the runtime {name} needs {needed}, which is not installed")
    if name == "onednn" and (not backend.available()[0] or paddle.__version__.startswith("2")):
        pytest.skip("the runtime onednn needs an x86-64 CPU and programs of Paddle 3")


@pytest.fixture(scope="module", params=RUNTIMES)
def exported(request, tmp_path_factory):
    """(runtime, folder, network) of each runtime."""
    usable(request.param)
    model = create_model("LeNet", class_num=10)
    model(paddle.randn([4, 1, 28, 28]))
    model.eval()
    folder = tmp_path_factory.mktemp(request.param) / "out"
    images = [np.random.default_rng(seed).standard_normal((8, 1, 28, 28), np.float32) for seed in range(3)]
    assert export(model, folder, [1, 28, 28], to=request.param, calibration=images) <= 1e-5
    return request.param, folder, model


def test_it_writes_its_files_and_no_others(exported):
    name, folder, _ = exported
    written = {path.name for path in folder.iterdir()}
    assert written <= {*RUNTIMES[name].files, "inference.yml"}
    facts = yaml.safe_load((folder / "inference.yml").read_text("utf-8"))
    assert facts["runtimes"] == [name]
    assert facts["sha256"].keys() == written - {"inference.yml"}
    assert name in held_by(folder)


def test_it_equals_the_network_at_any_batch_size_from_several_threads(exported):
    name, folder, model = exported
    runtime = open_runtime(folder, name, threads=1)
    sizes = 8 * (1, 5, 2, 17, 1, 3)
    batches = [np.random.default_rng(n).standard_normal((n, 1, 28, 28), np.float32) for n in sizes]
    expected = [model(paddle.to_tensor(images)).numpy() for images in batches]
    factor = 0.2 if RUNTIMES[name].quantizes else 1e-5
    with ThreadPoolExecutor(16) as pool:
        for found, exact in zip(pool.map(runtime, batches), expected, strict=True):
            assert found.dtype == np.float32
            assert np.abs(found - exact).max() <= factor * np.abs(exact).max()


def test_it_prints_nothing_and_predicts(exported, capfd):
    name, folder, _ = exported
    (prediction,) = Predictor(folder, 1, runtime=name).predict([np.zeros((28, 28), np.uint8)])
    assert len(prediction.class_ids) == 5
    assert capfd.readouterr().out == ""


def test_damage_is_a_sentence(exported, tmp_path):
    name, folder, _ = exported
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes() if file.suffix == ".yml" else b"damaged")
    with pytest.raises(UserError, match="is damaged or was replaced"):
        open_runtime(tmp_path, name)


@pytest.mark.parametrize("name", RUNTIMES)
def test_what_it_does_not_do_is_a_sentence(name, tmp_path):
    with pytest.raises(UserError, match="got device 'abacus'"):
        open_runtime(tmp_path, name, device="abacus")
    with pytest.raises(UserError, match="does not compute in int3; none does"):
        open_runtime(tmp_path, name, precision="int3")
    with pytest.raises(UserError, match=f"--to {name}"):
        open_runtime(tmp_path, name)


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    export(nn.Sequential(nn.Conv2D(1, 3, 4), nn.Flatten()), "~/out", [1, 4, 4])
    assert (Path(tmp_path) / "out" / "inference.yml").is_file()
    assert Predictor("~/out").class_names == ["0", "1", "2"]


def test_predict_imports_a_runtime_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry.RUNTIMES, "_entries", dict(registry.RUNTIMES._entries))
    monkeypatch.setattr(registry.RUNTIMES, "_aliases", dict(registry.RUNTIMES._aliases))
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    Path("my_runtime.py").write_text(
        """
from ppeconv.deployment.runtimes.paddle import PaddleRuntime
from ppeconv.registry import RUNTIMES

@RUNTIMES.register(name="own")
class OwnRuntime(PaddleRuntime):
    pass
""",
        "utf-8",
    )
    Image.fromarray(np.zeros((4, 4), np.uint8)).save("image.png")
    export(nn.Sequential(nn.Conv2D(1, 3, 4), nn.Flatten()), "out", [1, 4, 4])
    command = "predict", "--model", "out", "--runtime", "own", "image.png"
    assert call(capsys, *command)[0] == 2
    code, text, error = call(capsys, *command, "--import", "my_runtime")
    assert code == 0, error
    assert text.startswith("image.png: ")


def test_an_export_to_a_runtime_that_is_not_registered_is_a_sentence(tmp_path):
    (tmp_path / "inference.yml").write_text("{format: 1, input_shape: [1, 4, 4], runtimes: [abacus]}", "utf-8")
    with pytest.raises(UserError, match="exported to abacus"):
        open_runtime(tmp_path)
