"""Export, and prediction with what was exported."""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from PIL import Image

import ppeconv
from ppeconv import Predictor, UserError, create_model
from ppeconv.data.datasets import Digits
from ppeconv.deployment import publish
from ppeconv.deployment.export import export
from ppeconv.deployment.outputs import named_outputs
from ppeconv.deployment.precision import require_bf16
from ppeconv.deployment.publish import publishing
from ppeconv.deployment.runtimes import open_runtime
from ppeconv.deployment.runtimes.paddle import PaddleRuntime
from ppeconv.experiment import Experiment
from ppeconv.layers.parameters import NORMS
from ppeconv.layers.shuffle import by_reshaping
from tests.support.runs import call, skip_without_bf16, trained_run

OF_PADDLE = ["paddle", "onednn"] if paddle.__version__ >= "3" else ["paddle"]
"""Runtimes that read the files of this Paddle."""
SPCONV = {"operator": "SPConv"}
PAIRS = {"operator": "SPConv", "rules": {"pairs": True}}
STEM = {"class_num": 7, "stem": "cifar"}
LARGE = (
    *("DenseNet121", "DPN68", "EfficientNetB0", "InceptionV1", "InceptionV2", "MixNetL", "MixNetM", "MixNetS"),
    *("MobileNetV3Large", "Res2Net50", "ResNet101", "ResNet152", "ResNeXt50", "ResNeXt101", "SKNet50"),
)
SMALL = {"class_num": 7, "width": 0.25}


def settle(model, images):
    """Give the batch norms statistics of a batch, and half their gain: deep networks magnify rounding errors else."""
    model(images)
    for layer in model.sublayers():
        if isinstance(layer, NORMS):
            layer.weight.set_value(layer.weight / 2)


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("LeNet", {}, [1, 28, 28]),
        ("LeNet", SPCONV, [1, 28, 28]),
        ("LeNet3C1L", {"width": 0.5}, [1, 28, 28]),
        ("LeNet3C1L", {"width": 0.5, **SPCONV}, [1, 28, 28]),
        ("ResNet18", SMALL, [3, 64, 64]),
        ("ResNet18", {**SMALL, **SPCONV}, [3, 64, 64]),
        ("ResNet18", {**SMALL, "stem": "cifar"}, [3, 32, 32]),
        ("ResNet34", SMALL, [3, 64, 64]),
        ("ResNet34", {**SMALL, **SPCONV}, [3, 64, 64]),
        ("ResNet50", SMALL, [3, 64, 64]),
        ("ResNet50", {**SMALL, **SPCONV}, [3, 64, 64]),
        ("ResNet20", {"shortcut": "A"}, [3, 32, 32]),
        ("ResNet20", {"shortcut": "A", **SPCONV}, [3, 33, 31]),
        ("ResNet14", {"width": 0.5}, [3, 32, 32]),
        ("ResNet32", {"width": 0.5}, [3, 32, 32]),
        ("ResNet32", {"width": 0.5, **SPCONV}, [3, 32, 32]),
        ("ResNet56", {"width": 0.5}, [3, 32, 32]),
        ("ResNet56", {"width": 0.5, **SPCONV}, [3, 32, 32]),
        pytest.param("ResNet110", {"width": 0.5}, [3, 32, 32], marks=pytest.mark.full),
        pytest.param("ResNet110", {"width": 0.5, **SPCONV}, [3, 32, 32], marks=pytest.mark.full),
        ("VGG16", {"class_num": 7, "width": 0.125}, [3, 64, 64]),
        ("VGG16", {"class_num": 7, "width": 0.125, **SPCONV}, [3, 64, 64]),
        ("VGG16Cifar", SMALL, [3, 32, 32]),
        ("VGG16Cifar", {**SMALL, **SPCONV}, [3, 32, 32]),
        ("MobileNetV2", {"class_num": 7}, [3, 64, 64]),
        ("MobileNetV2", {"class_num": 7, **PAIRS}, [3, 64, 64]),
        ("GhostNet", {**STEM, "width": 0.5}, [3, 32, 32]),
        ("MobileFaceNet", {"image_size": 32}, [3, 32, 32]),
        ("MobileNetV1", {**STEM, "width": 0.25}, [3, 32, 32]),
        ("MobileNetV3Small", STEM, [3, 32, 32]),
        ("ShuffleNetV1", {**STEM, "width": 0.5}, [3, 32, 32]),
        ("ShuffleNetV2", {**STEM, "width": 0.5}, [3, 32, 32]),
        ("SqueezeNet", STEM, [3, 32, 32]),
        *[pytest.param(name, STEM, [3, 32, 32], marks=pytest.mark.full) for name in LARGE],
        *[
            pytest.param(name, {"class_num": 7}, [3, 96, 96], marks=pytest.mark.full)
            for name in ("InceptionResNetV2", "InceptionV3", "InceptionV4", "Xception")
        ],
    ],
)
def test_exported_equals_eager(name, arguments, shape, tmp_path):
    paddle.seed(0)
    model = create_model(name, **arguments)
    settle(model, paddle.randn([4, *shape]))
    difference = export(model, tmp_path / "out", shape)
    assert difference <= 1e-5
    assert model.training
    model.eval()
    runtime = PaddleRuntime(tmp_path / "out")
    for batch in (1, 7):
        images = np.random.randn(batch, *shape).astype("float32")
        expected = model(paddle.to_tensor(images)).numpy()
        assert np.abs(runtime(images) - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


@pytest.mark.parametrize(
    ("operator", "own"), [("MixConv", {"kernel_sizes": [3]}), ("OctaveConv", {"alpha": 0.5}), ("InceptionConv", {})]
)
def test_operators_that_paddle_inference_could_not_run(operator, own, tmp_path):
    """A split into one part, an interpolation, and a ReLU behind a concatenation fail there with oneDNN."""
    convs = paddle.nn.Conv2D(3, 8, 1), paddle.nn.Conv2D(8, 4, 1)
    layer = ppeconv.create_operator(operator, 8, 8, 3, padding=1, **own)
    model = paddle.nn.Sequential(convs[0], layer, paddle.nn.ReLU(), convs[1])
    assert export(model, tmp_path / "out", [3, 9, 8]) <= 1e-5


@pytest.mark.parametrize(
    "affine", [{"weight_attr": False}, {"bias_attr": False}, {"weight_attr": False, "bias_attr": False}]
)
def test_norms_without_scale_or_shift(affine, tmp_path):
    norms = [paddle.nn.BatchNorm2D(3, **affine), paddle.nn.BatchNorm2D(4, **affine)]
    model = paddle.nn.Sequential(norms[0], paddle.nn.Conv2D(3, 4, 3), norms[1], paddle.nn.ReLU())
    model(paddle.randn([4, 3, 6, 6]))
    for form in ("deployed", "trained"):
        assert export(model, tmp_path / form, [3, 6, 6], form=form, to=OF_PADDLE) <= 1e-5


class Detector(paddle.nn.Layer):
    """A network of several outputs, arranged by a function of its feature map, boxes and scores."""

    def __init__(self, arrange):
        super().__init__()
        self.body, self.norm = paddle.nn.Conv2D(3, 8, 3, bias_attr=False), paddle.nn.BatchNorm2D(8)
        self.boxes, self.scores, self.arrange = paddle.nn.Conv2D(8, 4, 1), paddle.nn.Linear(8, 5), arrange

    def forward(self, image):
        features = self.norm(self.body(image))
        return self.arrange(features, self.boxes(features), self.scores(features.mean([2, 3])))


ARRANGED = [
    (lambda f, b, s: (b, s), {"0": 4, "1": 2}),
    (lambda f, b, s: [s, b, f], {"0": 2, "1": 4, "2": 4}),
    (lambda f, b, s: {"scores": s, "boxes": b}, {"boxes": 4, "scores": 2}),
    (lambda f, b, s: {"z": [f, (s,)], "a": {"b": b}, "none": None}, {"a.b": 4, "z.0": 4, "z.1.0": 2}),
    (lambda f, b, s: [s * n for n in range(12)], {str(n): 2 for n in range(12)}),
]


@pytest.mark.parametrize(("arrange", "outputs"), ARRANGED)
def test_several_outputs(arrange, outputs, tmp_path):
    model = Detector(arrange)
    model(paddle.randn([4, 3, 8, 8]))
    assert export(model, tmp_path / "out", [3, 8, 8]) <= 1e-5
    assert yaml.safe_load((tmp_path / "out" / "inference.yml").read_text("utf-8"))["outputs"] == list(outputs)
    model.eval()
    images = np.random.randn(5, 3, 8, 8).astype("float32")
    expected = named_outputs(model(paddle.to_tensor(images)))
    found = PaddleRuntime(tmp_path / "out")(images)
    assert [value.ndim for value in found] == list(outputs.values())
    with pytest.raises(UserError, match=f"gives {len(outputs)} outputs"):
        Predictor(tmp_path / "out")
    for value, (name, tensor) in zip(found, expected.items(), strict=True):
        assert name in outputs
        np.testing.assert_allclose(value, tensor.numpy(), rtol=1e-4, atol=1e-5)


def test_one_named_output_is_as_a_tensor(tmp_path):
    export(Detector(lambda f, b, s: {"scores": s}), tmp_path / "out", [3, 8, 8], to=OF_PADDLE)
    (prediction,) = Predictor(tmp_path / "out").predict([np.zeros((20, 10, 3), np.uint8)], topk=5)
    assert sorted(prediction.class_names) == list("01234")


@pytest.mark.parametrize(
    ("arrange", "words"),
    [
        (lambda f, b, s: (s, "five"), "gives a str as 1"),
        (lambda f, b, s: {"n": {"k": 3}}, "gives a int as n.k"),
        (lambda f, b, s: [None], "this one gives none"),
    ],
)
def test_other_outputs_are_a_sentence(arrange, words, tmp_path):
    for form in ("deployed", "trained"):
        with pytest.raises(UserError, match=words):
            export(Detector(arrange), tmp_path / "out", [3, 8, 8], form=form)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["float64", "bfloat16"])
def test_another_number_format_is_a_sentence(kind, tmp_path):
    model = Detector(lambda f, b, s: s)
    model.to(dtype=kind)
    for form in ("deployed", "trained"):
        with pytest.raises(UserError, match=f"exported in float32; this one has parameters in {kind}"):
            export(model, tmp_path / "out", [3, 8, 8], form=form)


@pytest.mark.parametrize(
    ("shape", "words"),
    [([1, 3, 8, 8], r"input_shape is \[C, H, W\]"), ([4, 8, 8], r"does not take images of \[4, 8, 8\]: .*channel")],
)
def test_images_that_do_not_fit_are_a_sentence(shape, words, tmp_path):
    with pytest.raises(UserError, match=words):
        export(paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3)), tmp_path / "out", shape)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(len(OF_PADDLE) == 1, reason="the runtime onednn reads programs of Paddle 3")
def test_several_outputs_on_onednn_are_a_sentence(tmp_path):
    with pytest.raises(UserError, match="gives one output, and this network has several"):
        ppeconv.InProcess(Detector(lambda f, b, s: (b, s)), [3, 8, 8])


def test_the_predictor_takes_an_export_without_description(tmp_path):
    model = create_model("LeNet")
    model.eval()
    export(model, tmp_path / "out", [1, 28, 28], to=["paddle"])
    image = np.random.default_rng(0).integers(0, 255, (28, 28, 1), np.uint8)
    (prediction,) = Predictor(tmp_path / "out").predict([image])
    scores = paddle.nn.functional.softmax(model(paddle.to_tensor(image.transpose(2, 0, 1)[None] / np.float32(255))))
    assert prediction.class_names == [str(index) for index in prediction.class_ids]
    np.testing.assert_allclose(prediction.scores[0], scores.numpy().max(), rtol=1e-4)


class CallsItselfOtherwise(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 3)

    def forward(net, image):  # noqa: N805
        return net.conv(image).mean([2, 3])


def test_a_network_may_call_itself_otherwise_than_self(tmp_path):
    model = CallsItselfOtherwise()
    export(model, tmp_path / "out", [3, 8, 8], to=["paddle"])
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    (prediction,) = Predictor(tmp_path / "out").predict([image])
    scores = model(paddle.to_tensor(image.transpose(2, 0, 1)[None] / np.float32(255)))
    assert prediction.class_ids[0] == int(scores.argmax())


def test_targets_is_an_older_name_of_to(tmp_path):
    model = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3))
    runtimes = []
    for name, options in enumerate([{"to": ",".join(OF_PADDLE)}, {"to": OF_PADDLE}, {"targets": OF_PADDLE}]):
        export(model, tmp_path / str(name), [3, 8, 8], **options)
        runtimes.append(yaml.safe_load((tmp_path / str(name) / "inference.yml").read_text("utf-8"))["runtimes"])
    assert runtimes == [OF_PADDLE] * 3
    for wrong in ("onx", "paddle,onx", []):
        with pytest.raises(UserError, match="cannot be exported to"):
            export(model, tmp_path / "wrong", [3, 8, 8], to=wrong)


@pytest.mark.parametrize(("shape", "data_format"), [([2, 12, 3, 2], "NCHW"), ([2, 3, 2, 12], "NHWC")])
def test_the_convertible_channel_shuffle_is_paddles(shape, data_format):
    x = paddle.arange(144).reshape(shape).astype("float32")
    expected = paddle.nn.functional.channel_shuffle(x, 4, data_format).numpy()
    np.testing.assert_array_equal(by_reshaping(x, 4, data_format).numpy(), expected)


def test_every_backbone_is_in_that_table():
    marks = test_exported_equals_eager.pytestmark[0].args[1]
    tested = {(case.values if hasattr(case, "values") else case)[0] for case in marks}
    assert tested == set(ppeconv.list_backbones())


def test_a_network_that_differs_is_refused_and_nothing_is_written(tmp_path):
    class Drifting(paddle.nn.Layer):
        """Gives another result in eager mode at every call."""

        def __init__(self):
            super().__init__()
            self.fc, self.calls = paddle.nn.Linear(4, 3), 0

        def forward(self, x):
            self.calls += 1
            return self.fc(x.flatten(1)) * self.calls

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "inference.yml").write_text("an older export", "utf-8")
    for form in ("deployed", "trained"):
        with pytest.raises(UserError, match="differs from the trained one"):
            export(Drifting(), tmp_path / "out", [1, 2, 2], form=form)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "inference.yml"]
    assert (tmp_path / "out" / "inference.yml").read_text("utf-8") == "an older export"


def tiny_network():
    """A network that is exported in no time."""
    return paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(4, 3))


def replacing(folder, monkeypatch, killed_at):
    """Export `new` over `old` with a kill at that change of the file system; whether there were so many."""
    changes, rmtree = [], shutil.rmtree

    def counted(real):
        def change(*arguments):
            changes.append(real)
            if len(changes) == killed_at:
                raise KeyboardInterrupt
            return real(*arguments)

        return change

    with monkeypatch.context() as patch:
        patch.setattr(publish, "_exchange", counted(publish._exchange))
        patch.setattr(shutil, "rmtree", lambda *rest, **options: len(changes) >= killed_at or rmtree(*rest, **options))
        for method in ("unlink", "replace", "rename"):
            patch.setattr(Path, method, counted(getattr(Path, method)))
        try:
            with publishing(folder) as staged:
                write_export(staged, "new")
        except KeyboardInterrupt:
            return True
    return False


def write_export(folder, content, names=("inference.json", "inference.pdiparams", "inference.yml")):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(content, "utf-8")


def exported_contents(folder):
    return {file.name: file.read_text("utf-8") for file in publish.exported_files(folder)}


def test_a_kill_leaves_the_old_export_or_the_new_one(tmp_path, monkeypatch):
    old = {"inference.json": "old", "inference.onnx": "old", "inference.yml": "old"}
    new = {"inference.json": "new", "inference.pdiparams": "new", "inference.yml": "new"}
    write_export(tmp_path / "out", "old", old)
    kills = 0
    while replacing(tmp_path / "out", monkeypatch, kills + 1):
        kills += 1
        assert exported_contents(tmp_path / "out") in (old, new)
    assert kills >= 1
    assert exported_contents(tmp_path / "out") == new


def test_what_a_kill_leaves_among_files_of_the_user_is_no_mixture(tmp_path, monkeypatch):
    write_export(tmp_path / "out", "old", ["inference.json", "inference.onnx", "inference.yml", "inference.py"])
    kills = 0
    while replacing(tmp_path / "out", monkeypatch, kills + 1):
        kills += 1
        left = exported_contents(tmp_path / "out")
        assert "inference.yml" not in left or len(set(left.values())) == 1
    assert kills >= 5
    assert (tmp_path / "out" / "inference.py").read_text("utf-8") == "old"


def test_an_export_deletes_its_own_files_and_what_a_killed_one_left(tmp_path):
    of_the_user = ["inference.py", "inference.json.bak", "inference.yml.orig", "width_notes/inference.yml", "a/b.txt"]
    for name in [*of_the_user, "inference.pdmodel", "width_0.5/inference.yml", "widths.yml"]:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text("old", "utf-8")
    (tmp_path / ".out.exporting").mkdir()
    (tmp_path / ".out.exporting" / "inference.json").write_text("half", "utf-8")
    export(tiny_network(), tmp_path / "out", [1, 2, 2])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert set(of_the_user) < files
    assert not {"inference.pdmodel", "width_0.5/inference.yml", "widths.yml"} & files
    assert {"inference.pdiparams", "inference.yml"} < files


def test_two_exports_to_one_folder_do_not_meet(tmp_path):
    with publishing(tmp_path / "out"), pytest.raises(UserError, match=r"an export to .*out is under way \(process \d+"):
        export(tiny_network(), tmp_path / "out", [1, 2, 2])


def test_a_folder_that_is_a_link_stays_one(tmp_path):
    (tmp_path / "disk" / "model").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "model")
    for _ in range(2):
        export(tiny_network(), tmp_path / "out", [1, 2, 2])
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "model" / "inference.yml").is_file()
    with pytest.raises(UserError, match="it is not a folder"):
        export(tiny_network(), tmp_path / "out" / "inference.yml", [1, 2, 2])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run on digits, exported."""
    from ppeconv.cli.main import main

    run = trained_run(tmp_path_factory.mktemp("runs"), "Global.epochs=3")
    assert main(["export", "--run", str(run.path)]) == 0
    return run


def save_digits(folder, count=20):
    images, labels = Digits(".", "test").arrays
    folder.mkdir()
    for index in range(count):
        Image.fromarray(images[index, ..., 0]).save(folder / f"{index:02}.png")
    return labels[:count]


def test_predictor_equals_the_trained_network(exported, tmp_path):
    labels = save_digits(tmp_path / "images")
    predictions = list(Predictor(exported.path / "inference").predict(sorted((tmp_path / "images").iterdir())))
    assert np.mean([p.class_ids[0] == label for p, label in zip(predictions, labels, strict=True)]) > 0.8
    model = Experiment.open(exported.path).model
    images = Digits(".", "test").arrays[0][:20].transpose(0, 3, 1, 2)
    scores = paddle.nn.functional.softmax(
        model(paddle.to_tensor((images / 255 - 0.3) / 0.34).astype("float32"))
    ).numpy()
    np.testing.assert_allclose([p.scores[0] for p in predictions], scores.max(1), rtol=1e-4)
    assert all(p.class_names == [str(i) for i in p.class_ids] and len(p.scores) == 5 for p in predictions)


def test_predict_command(exported, tmp_path, capsys):
    save_digits(tmp_path / "images", 3)
    Image.fromarray(np.zeros((90, 60, 3), np.uint8)).save(tmp_path / "images" / "large.jpg")
    model, folder = exported.path / "inference", tmp_path / "images"
    code, text, _ = call(capsys, "predict", "--model", model, folder, "--topk", 2)
    assert code == 0
    assert len(text.splitlines()) == 4
    code, text, _ = call(capsys, "predict", "--model", model, f"{folder}/0*.png", folder / "large.jpg", "--json")
    rows = [json.loads(line) for line in text.splitlines()]
    assert [len(row["scores"]) for row in rows] == [5] * 4
    assert rows[3]["file"].endswith("large.jpg")


def test_inference_yml(exported):
    facts = yaml.safe_load((exported.path / "inference" / "inference.yml").read_text("utf-8"))
    assert facts["input_shape"] == [1, 28, 28]
    assert facts["class_names"] == [str(digit) for digit in range(10)]
    assert facts["paddle"] == paddle.__version__
    assert (facts["form"], facts["runtimes"]) == ("deployed", ["paddle"])
    assert [next(iter(operation)) for operation in facts["transform_ops"]] == ["Resize", "Normalize"]


def test_plain_paddle_inference_serves_it(exported):
    from paddle import inference

    folder = exported.path / "inference"
    program = next(path for path in folder.iterdir() if path.suffix in (".json", ".pdmodel"))
    predictor = inference.create_predictor(inference.Config(str(program), str(folder / "inference.pdiparams")))
    handle = predictor.get_input_handle(predictor.get_input_names()[0])
    images = np.random.randn(3, 1, 28, 28).astype("float32")
    handle.reshape(images.shape)
    handle.copy_from_cpu(images)
    predictor.run()
    found = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    np.testing.assert_allclose(
        found, Experiment.open(exported.path).model(paddle.to_tensor(images)).numpy(), rtol=1e-4, atol=1e-5
    )


def test_paddleclas_way_to_export_and_evaluate(exported, tmp_path, capsys):
    for weights in ("best_model", "best_model.pdparams"):
        common = ["-c", "lenet_spconv_digits", "-o", f"Global.pretrained_model={exported.path / weights}"]
        code, text, _ = call(capsys, "eval", *common)
        assert code == 0
        assert "top1: 0.9" in text
        code, _, _ = call(capsys, "export", *common, "-o", f"Global.save_inference_dir={tmp_path / weights}")
        assert code == 0
        assert (tmp_path / weights / "inference.pdiparams").is_file()
    assert call(capsys, "eval", "--run", exported.path)[1].count("top1: 0.9") == 1


@pytest.mark.parametrize("missing", ["onnx", "int8", "openvino"])
def test_a_folder_without_that_runtime_is_a_sentence(missing, exported):
    with pytest.raises(UserError, match=f"--to {missing}"):
        Predictor(exported.path / "inference", runtime=missing)


@pytest.mark.parametrize("runtime", ["paddle", "onednn"])
def test_bf16_is_near_float32(runtime, exported):
    skip_without_bf16()
    images = np.random.randn(5, 1, 28, 28).astype("float32")
    folder = exported.path / "inference"
    exact, rounded = (open_runtime(folder, runtime, 1, precision=kind)(images) for kind in ("float32", "bf16"))
    assert (exact.dtype, rounded.dtype) == (np.float32, np.float32)
    assert 1e-5 < np.abs(rounded - exact).max() / np.abs(exact).max() < 0.03


@pytest.mark.parametrize(
    ("words", "device", "sentence"),
    [("flags : fpu avx2 avx512f", "cpu", "does not compute in bf16"), ("flags : amx_bf16", "gpu", "got device 'gpu'")],
)
def test_bf16_is_refused_where_it_would_be_slow(words, device, sentence, tmp_path, monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\n{words}\n\nprocessor : 1\n{words}\n", "utf-8")
    with pytest.raises(UserError, match=sentence):
        require_bf16(device, cpuinfo)
    cpuinfo.write_text("processor : 0\nflags : fpu avx512_bf16\n", "utf-8")
    require_bf16("cpu", cpuinfo)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx2")
    with pytest.raises(UserError, match="ONEDNN_MAX_CPU_ISA=avx2, which may be unset, keeps oneDNN from"):
        require_bf16("cpu", cpuinfo)


def test_a_network_that_paddle_cannot_run_in_bf16_is_a_sentence(exported, monkeypatch):
    class Failing:
        """A predictor whose tensors live and that does not run."""

        def __init__(self, predictor):
            self.predictor = predictor

        def run(self):
            raise RuntimeError("std::exception")

    for precision, error in (("bf16", UserError), ("float32", RuntimeError)):
        runtime = PaddleRuntime(exported.path / "inference", 1, precision=precision)
        runtime._predictor = Failing(runtime._predictor)
        with pytest.raises(error, match="std::exception"):
            runtime(np.zeros((1, 1, 28, 28), np.float32))


def test_predict_in_bf16(exported, tmp_path, capsys, monkeypatch):
    if "ONEDNN_MAX_CPU_ISA" in os.environ:
        pytest.skip("Paddle imitates bf16 by the CPU's flags, whatever oneDNN is limited to")
    save_digits(tmp_path / "images", 2)
    asked = []
    monkeypatch.setattr("ppeconv.deployment.runtimes.base.require_bf16", asked.append)
    arguments = ["predict", "--model", exported.path / "inference", tmp_path / "images", "--precision"]
    assert call(capsys, *arguments, "float32")[0] == 0
    assert asked == []
    assert call(capsys, *arguments, "bf16")[0] == 0
    assert asked == ["cpu"]


def test_an_unknown_target_is_a_sentence(exported, capsys):
    code, _, error = call(capsys, "export", "--run", exported.path, "--to", "paddle,onx")
    assert code == 2
    assert "did you mean 'onnx'" in error
    assert (exported.path / "inference" / "inference.pdiparams").is_file()


def test_a_missing_package_is_a_sentence(exported, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if "onnx" in name else find(name, *rest))
    code, _, error = call(capsys, "export", "--run", exported.path, "--to", "onnx")
    assert code == 2
    assert "pip install -r requirements-onnx.txt" in error
    assert "pip install 'ppeconv[onnx]'" in error


def test_the_trained_form(exported, tmp_path, capsys):
    folder = tmp_path / "trained"
    options = ["--form", "trained", "-o", f"Global.save_inference_dir={folder}"]
    assert call(capsys, "export", "--run", exported.path, *options)[0] == 0
    images = np.random.randn(2, 1, 28, 28).astype("float32")
    runtimes = [PaddleRuntime(place) for place in (folder, exported.path / "inference")]
    np.testing.assert_allclose(*[runtime(images) for runtime in runtimes], rtol=1e-4, atol=1e-5)
    assert yaml.safe_load((folder / "inference.yml").read_text("utf-8"))["form"] == "trained"
