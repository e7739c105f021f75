"""What prediction and evaluation are given: images of every form, unreadable files, damaged folders."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from paddle import nn
from PIL import Image

from ppeconv import Predictor, UserError, create_model
from ppeconv import config as configs
from ppeconv.data.batches import Batches, Pipeline
from ppeconv.data.datasets import ImageFolder
from ppeconv.deployment.export import export
from ppeconv.deployment.widths import AnyWidthPredictor, export_widths
from ppeconv.engine.weights import write_weights
from tests.support.runs import call

ROOT = Path(__file__).parents[2]
CLASSES = ["ant", "bee", "cat", "dog"]


def exported(folder, channels, classes=CLASSES, **more):
    """A small network of 12x10 images, exported."""
    paddle.seed(channels)
    model = nn.Sequential(nn.Conv2D(channels, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 5 * 4, len(CLASSES)))
    shares = [0.4, 0.5, 0.6][:channels]
    operations = [{"Resize": {"size": [12, 10]}}, {"Normalize": {"mean": shares, "std": shares}}]
    export(model, folder, [channels, 12, 10], {"class_names": classes, "transform_ops": operations}, **more)
    return folder


@pytest.fixture(scope="module")
def rgb(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("rgb") / "out", 3)


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("grey") / "out", 1)


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (20, 16, 3), dtype=np.uint8)


def scores(predictor, images):
    return [sorted(zip(row.class_ids, row.scores, strict=True)) for row in predictor.predict(images)]


def test_one_image_and_several_of_every_form_get_the_same_answer(rgb, photo, tmp_path):
    file, predictor = tmp_path / "photo.png", Predictor(rgb)
    Image.fromarray(photo).save(file)
    (expected,) = scores(predictor, [photo])
    for images in (photo, file, str(file), Image.fromarray(photo), Image.open(file), photo[None], [file], (photo,)):
        assert scores(predictor, images) == [expected]
    assert scores(predictor, iter([photo, file])) == [expected, expected]
    assert [row.file for row in predictor.predict([photo, file, Image.open(file)])] == ["", str(file), str(file)]
    assert scores(predictor, np.stack([photo, photo])) == [expected, expected]
    assert scores(predictor, []) == []
    np.testing.assert_array_equal(predictor.probabilities(photo)[0], [score for _, score in expected])
    assert scores(predictor, photo[..., ::-1]) != [expected], "the order of the colours matters"


def test_grey_and_colour_are_turned_into_what_the_network_has(rgb, grey, photo, tmp_path):
    brightness = np.asarray(Image.fromarray(photo).convert("L"))
    Image.fromarray(brightness).save(tmp_path / "grey.png")
    for images in (brightness, brightness[..., None], tmp_path / "grey.png"):
        assert scores(Predictor(rgb), images) == scores(Predictor(rgb), np.repeat(brightness[..., None], 3, 2))
    for images in (photo, brightness, brightness[..., None], Image.fromarray(photo)):
        assert scores(Predictor(grey), images) == scores(Predictor(grey), [brightness])


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((20, 16, 3), "float32"), "uint8 from 0 to 255; got float32 from 0 to 0"),
        (np.full((20, 16, 3), 7, "int64"), "got int64 from 7 to 7"),
        (np.zeros((20, 16), bool), "got bool;"),
        (np.zeros((3, 20, 16), "uint8"), r"of shape \[3, 20, 16\]; this looks like \[C, H, W\]"),
        (np.zeros((1, 20, 16), "uint8"), r"this looks like \[C, H, W\]"),
        (np.zeros((20, 16, 4), "uint8"), "with transparency"),
        (np.zeros((20, 16, 2), "uint8"), r"of shape \[20, 16, 2\]; give \[H, W, 3\] in the order RGB"),
        (np.zeros(20, "uint8"), r"of shape \[20\]; give"),
        (np.zeros((0, 16, 3), "uint8"), "the image is empty"),
        (np.zeros((20, 0, 3), "float32"), "the image is empty"),
        ([[0, 1], [2, 3]], "an image is a file, a numpy array or an image of Pillow; got a list"),
        (None, "got a NoneType"),
        (7, "got a int"),
    ],
)
def test_what_is_no_image_is_refused(image, words, rgb):
    predictor = Predictor(rgb)
    for ask in (lambda: list(predictor.predict([image])), lambda: predictor.probabilities([image])):
        with pytest.raises(UserError, match=words):
            ask()
    if not isinstance(image, list):
        with pytest.raises(UserError):
            list(predictor.predict(image))


def test_a_tensor_is_refused(rgb):
    with pytest.raises(UserError, match="got a Tensor"):
        Predictor(rgb).predict(paddle.zeros([1, 3, 12, 10]))


def test_prediction_goes_on_past_unreadable_files_and_names_them(rgb, photo, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(70):
        Image.fromarray(photo).save(folder / f"{index:02}.png")
    bad = [folder / f"{index:02}.png" for index in (0, 33, 69)]
    bad[0].write_bytes(b"no image")
    bad[1].write_bytes(b"")
    bad[2].write_bytes(bad[2].read_bytes()[:100])
    for form in ([], ["--json"]):
        code, text, error = call(capsys, "predict", "--model", rgb, folder, *form)
        assert code == 1
        named = [json.loads(line)["file"] if form else line.split(": ")[0] for line in text.splitlines()]
        assert named == [str(file) for file in sorted(folder.iterdir()) if file not in bad]
        lines = error.splitlines()
        assert [str(file) in line for file, line in zip(bad, lines, strict=False)] == [True] * 3
        assert lines[-1] == "ppeconv: error: 3 images could not be read and are left out"
        assert len(lines) == 4
    code, text, error = call(capsys, "predict", "--model", rgb, bad[0])
    assert (code, text, len(error.splitlines())) == (1, "", 2)
    with pytest.raises(UserError, match=r"00\.png cannot be read as an image"):
        list(Predictor(rgb).predict(bad))
    told = []
    assert len(list(Predictor(rgb).predict([bad[1], photo], unreadable=told.append))) == 1
    assert "33.png" in str(told[0])


def test_prediction_at_a_width_goes_on_too(photo, tmp_path):
    model = create_model("LeNet3C1L", width=0.25, anywidth={"kind": "awn"})
    facts = {"class_names": list("0123456789"), "transform_ops": [{"Normalize": {"mean": [0.5], "std": [0.5]}}]}
    export_widths(model, tmp_path / "out", [1, 28, 28], [0.5, 1.0], facts)
    (tmp_path / "bad.png").write_bytes(b"no image")
    told, image = [], np.zeros((28, 28), np.uint8)
    predictor = AnyWidthPredictor(tmp_path / "out")
    assert len(list(predictor.predict([tmp_path / "bad.png", image], unreadable=told.append))) == 1
    assert len(told) == 1
    assert len(list(predictor.predict(image))) == 1
    table = yaml.safe_load((tmp_path / "out" / "widths.yml").read_text("utf-8"))
    for changes, words in (
        ({"widths": []}, "widths should be a list of at least 1"),
        ({"threads": 0}, "threads should be an integer of at least 1; got 0"),
        ({"widths": [{**table["widths"][0], "folder": "../elsewhere"}]}, r"widths\.0\.folder"),
        ({"widths": [{**table["widths"][0], "latency_ms": {}}]}, r"widths\.0\.latency_ms"),
    ):
        (tmp_path / "out" / "widths.yml").write_text(yaml.safe_dump({**table, **changes}), "utf-8")
        with pytest.raises(UserError, match=words):
            AnyWidthPredictor(tmp_path / "out")


def pictures(folder, count=6):
    """A folder of two classes; every third image of each is damaged."""
    bad = []
    for label, name in enumerate(("ant", "bee")):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            file = folder / name / f"{index}.png"
            Image.fromarray(np.full((28, 28), 40 * index + label, np.uint8)).save(file)
            if index % 3 == 2:
                file.write_bytes(b"no image")
                bad.append(file)
    return bad


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_leave_unreadable_images_out_or_raise_one_sentence(workers, tmp_path):
    bad = pictures(tmp_path / "all" / "val")
    dataset = ImageFolder(tmp_path, "test", image_root="all")
    pipeline = Pipeline([{"Resize": {"size": [8, 8]}}, {"Normalize": {"mean": [0.0] * 3, "std": [1.0] * 3}}])
    batches = Batches(dataset, pipeline, 4, num_workers=workers, skip_unreadable=math.inf)
    for _ in range(2):
        found = [(images.numpy(), labels.numpy()) for images, labels in batches.epoch()]
        values = np.concatenate([images[:, 0, 0, 0] for images, _ in found]) * 255
        np.testing.assert_allclose(values, [0, 40, 120, 160, 1, 41, 121, 161], atol=0.01)
        assert np.concatenate([labels for _, labels in found]).ravel().tolist() == [0] * 4 + [1] * 4
        assert sorted(batches.unreadable) == [2, 5, 8, 11]
        assert all(str(file) in batches.unreadable[index] for file, index in zip(bad, (2, 5, 8, 11), strict=True))
    with pytest.raises(UserError, match=r"2\.png cannot be read as an image"):
        list(Batches(dataset, pipeline, 4, num_workers=workers).epoch())
    alone = Batches(dataset, pipeline, 1, num_workers=workers, skip_unreadable=math.inf)
    assert [len(labels) for _, labels in alone.epoch()] == [1, 1, 0] * 4
    enough = Batches(dataset, pipeline, 4, num_workers=workers, skip_unreadable=3)
    with pytest.raises(UserError, match=r"5\.png cannot be read as an image.*, after 3 others that were left out"):
        list(enough.epoch())


def picture_config(folder, workers):
    base = configs.find("lenet_conv_digits").resolve().parent
    side = f"""dataset: {{image_root: all, transform_ops: [{{Resize: {{size: [28, 28]}}}},
    {{Normalize: {{mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}}}}]}}, loader: {{num_workers: {workers}}}"""
    (folder / "mine.yaml").write_text(
        f"""_base_: [{base}/_base_/datasets/imagenet.yaml, {base}/_base_/runtime.yaml]
Arch: {{name: LeNet}}
Optimizer: {{name: Adam, lr: {{name: Constant, learning_rate: 1e-3}}}}
DataLoader: {{Train: {{{side}}}, Eval: {{{side}}}}}
Global: {{data_root: {folder}, output_dir: {folder / "out"}, pretrained_model: {folder / "w.pdparams"}}}
""",
        "utf-8",
    )
    write_weights(create_model("LeNet", class_num=2, in_channels=3), folder / "w.pdparams")
    return folder / "mine.yaml"


def test_evaluation_goes_on_past_unreadable_files_and_names_them(tmp_path, capsys):
    bad = pictures(tmp_path / "all" / "val")
    shutil.copytree(tmp_path / "all" / "val", tmp_path / "all" / "train")
    config = picture_config(tmp_path, 0)
    code, text, error = call(capsys, "eval", "-c", config)
    assert code == 1, error
    assert "images: 8" in text
    assert "ant: top1" in text
    assert [str(file) in line for file, line in zip(bad, error.splitlines(), strict=False)] == [True] * 4
    assert error.splitlines()[-1] == "ppeconv: error: 4 images could not be read and are left out"
    for file in (tmp_path / "all" / "val").rglob("*.png"):
        file.write_bytes(b"no image")
    code, _, error = call(capsys, "eval", "-c", config)
    assert (code, "none of the 12 images can be read" in error) == (2, True)


def test_evaluation_with_workers_says_one_sentence(tmp_path):
    bad = pictures(tmp_path / "all" / "val")
    shutil.copytree(tmp_path / "all" / "val", tmp_path / "all" / "train")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "tools/eval.py", "-c", picture_config(tmp_path, 2)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("ppeconv:")]
    assert [str(file) in line for file, line in zip(bad, lines, strict=False)] == [True] * 4
    assert len(lines) == 5


def edited(folder, target, **changes):
    """A copy of an exported folder whose inference.yml says something else."""
    shutil.copytree(folder, target)
    facts = yaml.safe_load((target / "inference.yml").read_text("utf-8"))
    facts = {key: value for key, value in {**facts, **changes}.items() if value != "none"}
    (target / "inference.yml").write_text(yaml.safe_dump(facts), "utf-8")
    return target


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_names": "abcd"}, "class_names should be a list of at least 1, each a string; got 'abcd'"),
        ({"class_names": None}, "class_names should be a list of at least 1, each a string; got None"),
        ({"class_names": "none"}, "class_names is required"),
        ({"class_names": []}, r"class_names should be a list of at least 1, each a string; got \[\]"),
        ({"class_names": [1, 2, 3, 4]}, r"class_names\.0 should be a string; got 1"),
        ({"class_names": ["ant", "bee"]}, r"outputs of shape \[4\], and its inference.yml names 2 classes"),
        ({"class_names": [*"abcdefghij"]}, r"outputs of shape \[4\], and its inference.yml names 10 classes"),
        ({"input_shape": [12, 10]}, "input_shape should be a list of 3, each an integer of at least 1"),
        ({"input_shape": [3, 0, 10]}, r"input_shape\.1 should be an integer of at least 1; got 0"),
        ({"input_shape": "3x12x10"}, "input_shape should be a list of 3"),
        ({"input_shape": [3, 12, 11]}, r"transform_ops make images of \[3, 12, 10\], and input_shape is \[3, 12, 11\]"),
        ({"input_shape": [1, 12, 10]}, "transform_ops"),
        ({"transform_ops": None}, "transform_ops should be a list, each a mapping; got None"),
        ({"transform_ops": []}, "should end with Normalize"),
        ({"transform_ops": [{"Resise": {"size": 3}}]}, "Resise"),
        ({"transform_ops": [{"Normalize": {"mean": [0.5], "std": [0.5, 0.4]}}]}, "transform_ops"),
        ({"sha256": {}}, "sha256 should be a mapping"),
        ({"sha256": {"other": "0"}}, "is damaged or was replaced: its checksum is not the one in inference.yml"),
        ({"format": 2}, "has format 2, and this ppeconv reads format 1"),
    ],
)
def test_an_odd_manifest_is_refused_in_a_sentence(changes, words, rgb, photo, tmp_path):
    with pytest.raises(UserError, match=words):
        list(Predictor(edited(rgb, tmp_path / "out", **changes)).predict(photo))


@pytest.mark.parametrize("name", ["inference.json", "inference.pdmodel", "inference.pdiparams"])
@pytest.mark.parametrize("runtime", ["paddle", "onednn"])
def test_a_damaged_exported_file_is_refused(name, runtime, rgb, photo, tmp_path):
    folder = Path(shutil.copytree(rgb, tmp_path / "out"))
    if not (folder / name).is_file() or (runtime == "onednn" and not (folder / "inference.json").is_file()):
        pytest.skip("another version of Paddle writes this file")
    payload = bytearray((folder / name).read_bytes())
    payload[len(payload) // 2] ^= 1
    (folder / name).write_bytes(payload)
    with pytest.raises(
        UserError, match=f"{name} is damaged or was replaced: its checksum is not the one in inference.yml"
    ):
        Predictor(folder, runtime=runtime)


def test_a_folder_of_an_older_export_has_no_checksums(rgb, photo, tmp_path):
    folder = edited(rgb, tmp_path / "old", sha256="none")
    assert scores(Predictor(folder), photo) == scores(Predictor(rgb), photo)
    (folder / "inference.pdiparams").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot open the network in"):
        Predictor(folder)
