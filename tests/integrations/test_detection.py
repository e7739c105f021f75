"""The whole line with PaddleDetection itself, in an environment of its own, on twenty drawn pictures."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.support.processes import ROOT

pytestmark = pytest.mark.full

NAME = "picodet_resnet18_spconv_bccd"
KINDS = {"RBC": (200, 60, 60), "WBC": (80, 60, 180), "Platelets": (230, 200, 90)}
SPLITS = {"train": range(16), "val": range(16, 18), "test": range(18, 20)}
WHOLE = """
import sys
import numpy as np, paddle
import ppeconv
import ppeconv.integrations.ppdet
from ppeconv.integrations.ppdet import detector, export, settings
from ppeconv.operators.base import ConvOperator
from ppdet.core.workspace import create

config = settings.load(sys.argv[1], ["PPEConv.width=0.25"])
detector.work_around()
paddle.seed(0)
model = create("PicoDet")
model.eval()
network = detector.OnImages(model)
images = paddle.randn([2, 3, 64, 96])
before = {key: value.numpy() for key, value in network(images).items()}

norms = lambda model: sum(isinstance(layer, paddle.nn.BatchNorm2D) for layer in model.sublayers())
fast = export.deployed(model, [3, 64, 96])
assert norms(model) > 0 and norms(fast) == 0, (norms(model), norms(fast))
for key, value in detector.OnImages(fast)(images).items():
    np.testing.assert_allclose(value.numpy(), before[key], rtol=1e-4, atol=1e-4 * np.abs(before[key]).max())

run = set()
_, report = ppeconv.replace_conv(model, "GhostConv", rules={"include": ["neck.*", "head.*"], "min_kernel": 1})
ghosts = [layer for layer in model.sublayers() if type(layer).__name__ == "GhostConv"]
assert len(ghosts) > 10 and f"{len(ghosts)} of" in str(report), report
for layer in ghosts:
    layer.register_forward_post_hook(lambda layer, inputs, output: run.add(id(layer)))
network(images)
assert len(run) == len(ghosts), f"{len(run)} of {len(ghosts)} ran"
"""


@pytest.fixture(scope="module")
def python():
    """The interpreter of an environment with PaddleDetection; an error where it cannot be installed."""
    command = ". scripts/environment.sh && install_detection .venv-det"
    done = subprocess.run(["bash", "-ec", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ROOT / ".venv-det" / "bin" / "python"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Twenty pictures of discs in three colours, in VOC's layout and as COCO files; the folder `bccd`."""
    folder, random = tmp_path_factory.mktemp("data") / "bccd", np.random.default_rng(0)
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / "BCCD" / name).mkdir(parents=True)
    for number in range(20):
        picture = Image.new("RGB", (160, 120), (220, 210, 220))
        objects = ""
        for kind, colour in KINDS.items():
            side = int(random.integers(20, 50))
            left, top = (int(random.integers(0, limit - side)) for limit in (160, 120))
            ImageDraw.Draw(picture).ellipse([left, top, left + side, top + side], fill=colour)
            corners = {"xmin": left + 1, "ymin": top + 1, "xmax": left + side, "ymax": top + side}
            box = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
            objects += f"<object><name>{kind}</name><bndbox>{box}</bndbox></object>"
        picture.save(folder / "BCCD" / "JPEGImages" / f"{number}.jpg")
        size = "<size><width>160</width><height>120</height></size>"
        (folder / "BCCD" / "Annotations" / f"{number}.xml").write_text(f"<a>{size}{objects}</a>")
    for split, numbers in SPLITS.items():
        (folder / "BCCD" / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(map(str, numbers)))
    convert = [sys.executable, "scripts/voc_to_coco.py", folder / "BCCD", "--classes", ",".join(KINDS)]
    subprocess.run(convert, cwd=ROOT, check=True)
    return folder


def test_voc_annotations_become_coco_files(pictures):
    content = json.loads((pictures / "train.json").read_text())
    assert [len(content[key]) for key in ("images", "annotations", "categories")] == [16, 48, 3]
    assert [kind["name"] for kind in content["categories"]] == list(KINDS)
    for box in content["annotations"]:
        left, top, width, height = box["bbox"]
        assert width == height >= 20
        assert box["area"] == width * height
        assert 0 <= left <= 160 - width
        assert 0 <= top <= 120 - height


def test_deployed_and_replaced_detectors(python):
    done = subprocess.run(
        [python, "-W", "ignore", "-c", WHOLE, NAME], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_detector_is_trained_resumed_evaluated_exported_and_drawn(python, pictures, tmp_path):
    run = tmp_path / "runs" / NAME

    def detect(part, *options, given=(), code=0):
        small = ["epoch=1", "snapshot_epoch=1", "PPEConv.width=0.25", f"save_dir={tmp_path / 'runs'}", *given]
        command = [python, "-W", "ignore", "tools/detect.py", part, "-c", NAME, *options, "-o", *small]
        environment = {"PATH": "/usr/bin:/bin", "PPECONV_DATA": str(pictures.parent), "OMP_NUM_THREADS": "2"}
        done = subprocess.run(
            list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "there are no weights" in detect("eval", code=2)
    assert "SPConv: " in detect("train", "--eval")
    detect("train", "--eval", "-r", "auto", given=["epoch=2"])
    rows = list(csv.DictReader((run / "results.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(0 <= float(row["AP"]) <= float(row["AP50"]) <= 1 for row in rows)

    detect("eval", given=["EvalDataset.anno_path=test.json"])
    found = json.loads((run / "evaluation.json").read_text())
    assert found["annotations"] == "test.json"
    assert 0 <= found["AP50"] <= 1
    assert 0 < found["params"] < 10**7 < found["macs"]

    said = detect("export", "--to", "paddle,onnx", "--measure", "--output_dir", tmp_path / "exported")
    assert "onnx, deployed: " in said
    files = {file.name for file in (tmp_path / "exported" / NAME).iterdir()}
    assert files == {"model.json", "model.pdiparams", "model.onnx", "infer_cfg.yml"}

    folder = pictures / "BCCD" / "JPEGImages"
    detect("infer", "--infer_img", folder / "19.jpg", "--output_dir", tmp_path / "drawn", "--draw_threshold", "0.01")
    drawn, plain = (np.asarray(Image.open(place / "19.jpg")).astype(int) for place in (tmp_path / "drawn", folder))
    assert drawn.shape == plain.shape
    assert np.abs(drawn - plain).max() > 60
    table = subprocess.run(
        [sys.executable, "scripts/detection_table.py", run.parent], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert NAME in table.stdout
    assert f"{found['params']:,}" in table.stdout
