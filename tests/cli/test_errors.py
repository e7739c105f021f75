"""Bad input over all tools: exit code 2, one sentence, no traceback, nothing written."""

import io
import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from PIL import Image

from ppeconv.cli.main import main
from ppeconv.config.files import find
from ppeconv.engine import checkpoint
from ppeconv.errors import UserError
from ppeconv.experiment import Experiment
from tests.support.runs import call, trained_run

TRAIN = ["train", "-c", "lenet_spconv_digits", "-o", "Global.max_steps=1"]
TRAINING, EVAL = (f"DataLoader.{side}.dataset.transform_ops" for side in ("Train", "Eval"))
PHOTOS = ["train", "-c", "resnet18_conv_imagenet", "-o", "Global.max_steps=1", "Arch.width=0.125"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished and exported run."""
    run = trained_run(tmp_path_factory.mktemp("good"), "Global.max_steps=2")
    assert main(["export", "--run", str(run.path)]) == 0
    return run


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PPECONV_DATA", raising=False)


def refused(capsys, words, *arguments):
    """Run the command line and check all that holds of every refusal."""
    before = listing()
    code, _, error = call(capsys, *arguments)
    assert code == 2, (code, error)
    assert "Traceback" not in error
    sentence = [line for line in error.splitlines() if line.startswith("ppeconv: error: ")]
    assert len(sentence) == 1, error
    assert words in sentence[0]
    assert listing() == before


def listing():
    return sorted((str(path), path.stat().st_size) for path in Path(".").rglob("*"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["Global.epoch=1"], "did you mean 'epochs'"),
        (["Gobal.epochs=1"], "did you mean 'Global'"),
        (["Global.epochs=many"], "should be an integer from 1"),
        (["Global.epochs=-1"], "should be an integer from 1 to"),
        (["Global.ema=2"], "Global.ema should be a number above 0 and below 1"),
        (["Global.epochs"], "-o takes Section.key=value"),
        (["Global.seed=}"], "not valid YAML"),
        (["Global.device=npu"], "should be 'auto', 'cpu' or 'gpu'"),
        (["Global.seed=!!python/name:os.system"], "not valid YAML"),
        (["Arch.name=LeNett"], "did you mean 'LeNet'"),
        (["Arch.name=paddle.vision.resnet19"], "paddle.vision has no network 'resnet19'"),
        (["Arch.widht=2"], "did you mean 'width'"),
        (["Arch.image_size=8"], "Arch.image_size is 8, and the images are 28x28"),
        (["Arch.class_num=5"], "the train data have the label 9, but Arch.class_num is 5"),
        (["Arch.freeze=['nothing.*']"], "matches no parameter"),
        (["Arch.freeze=['*']"], "nothing is left to train"),
        (["Arch.pretrained=nowhere"], "there are no weights nowhere"),
        (["Operator.name=SPConf"], "did you mean 'SPConv'"),
        (["Operator.ratio=2.0"], "SPConv.ratio should be a number above 0 and below 1; got 2.0"),
        (["Operator.ratio=half"], "SPConv.ratio should be a number above 0 and below 1"),
        (["Operator.rules={include: [nothing]}"], "not named by rules.include"),
        (["Operator.rules={kernels: [3]}"], "no key 'kernels'"),
        (["Optimizer.name=SDG"], "there is no optimizer called 'SDG'"),
        (["Optimizer.lr.name=Cosinus"], "did you mean 'Cosine'"),
        (
            ["Optimizer.lr={name: Piecewise, decay_epochs: [1], values: [0.1]}"],
            "one more of values than of decay_epochs",
        ),
        (
            ["Optimizer={name: Momentum, lr: {name: Constant, learning_rate: 1000}}"],
            "the checkpoints are from before it",
        ),
        (["Loss.Train=[{CELoss: {epsilon: 1.5}}]"], "CELoss.epsilon should be a number of at least 0 and below 1"),
        (["Loss.Train=[{DistillLoss: {teacher: nowhere}}]"], "nowhere is not a run folder"),
        (["DataLoader.Train.sampler.batch_size=0"], "should be an integer from 1 to"),
        (["DataLoader.Train.sampler={batch_size: 5000, drop_last: true}"], "there is no full batch of 5000"),
        (["DataLoader.Train.dataset.transform_ops=[]"], "should end with Normalize"),
        (
            [f"{side}=[{{Normalize: {{mean: [0, 0, 0.0], std: [1.0, 1, 1]}}}}]" for side in (TRAINING, EVAL)],
            "Normalize has 3 channels, the images have 1",
        ),
        (["DataLoader.Train.dataset.transform_ops.0.RandomCrop.size=99"], "needs larger images"),
        (
            ["DataLoader.Train.dataset.batch_transform_ops=[{Mixup: {alpha: 0.0}}]"],
            "Mixup.alpha should be a number from 0.001",
        ),
        (["Optimizer.lr.warmup_epoch=21"], "warmup_epoch is 21, and the whole run has Global.epochs 20"),
        (["Optimizer.lr={name: Piecewise, decay_epochs: [2, 1], values: [1, 1, 1]}"], "in ascending order; got [2, 1]"),
        (
            ["Optimizer.lr={name: Piecewise, decay_epochs: [2], values: [1, 0.1], warmup_epoch: 2}"],
            "begins before the end of warmup_epoch 2",
        ),
        (
            [f"{EVAL}=[{{Normalize: {{mean: [0.5], std: [0.34]}}}}]"],
            "mean [0.3] and std [0.34] in training and mean [0.5]",
        ),
        ([f"{EVAL}=[{{Normalize: {{mean: [127.5], std: [1]}}}}]"], "Normalize.mean.0 should be a number from 0 to 1"),
        (["Infer.image_shape=[1, 32, 32]"], "the evaluation images are [1, 28, 28] after their transforms"),
        (["Infer.image_shape=[1, 32]"], "Infer.image_shape should be a list of 3"),
        (["Infer.class_names=[a, b]", "Arch.class_num=10"], "has 2 names, and Arch.class_num is 10"),
        (["Arch.in_channels=3"], "Arch.in_channels is 3, and the images have 1"),
        (["Arch.image_size=32"], "Arch.image_size is 32, and the images are 28x28"),
        (["Arch.name=InceptionV3"], "InceptionV3 does not take images of [1, 28, 28]: they are too small"),
        (["Arch.name=paddle.vision.resnet18"], "does not take images of [1, 28, 28]: The number of input's channels"),
        (
            [f"{TRAINING}=[{{Resize: {{size: 20}}}}, {{Normalize: {{mean: [0.3], std: [0.34]}}}}]"],
            "LeNet does not take images of [1, 20, 20]",
        ),
        (["AnyWidth={kind: awn, widths: []}"], "AnyWidth.widths should be a list of at least 1"),
        (["AnyWidth={kind: awn, widths: [0.5, 0.5]}"], "each once; got [0.5, 0.5]"),
        (["Metric.topk=[]"], "Metric.topk should be a list of at least 1"),
        (["Metric.topk=[1, -2]"], "Metric.topk.1 should be an integer from 1"),
        (["AMP.use_amp=true", "Global.cpu_backend=paddle"], "set AMP.use_amp to false"),
        (["Global.checkpoints=nowhere"], "there is no checkpoint to resume from"),
        (["Global.pretrained_model=nowhere"], "there are no weights nowhere"),
        (["format=0"], "this config has format 0"),
    ],
)
def test_train_refuses(overrides, words, capsys):
    if (
        words == "the checkpoints are from before it"
    ):  # found out while training: what was written stays, and is said to be there
        code, _, error = call(capsys, *TRAIN, "Global.max_steps=9", *overrides)
        assert code == 2
        assert words in error
        assert "Traceback" not in error
    else:
        refused(capsys, words, *TRAIN, *overrides)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Arch: {name: LeNet", "not valid YAML"),
        ("[1, 2]", "should hold sections"),
        ("_base_: gone.yaml", "cannot read"),
        ("Arch: {name: LeNet}\n", "is required and was not given"),
        ("Arch: !!python/object:os.path {}", "not valid YAML"),
    ],
)
def test_config_files_are_refused(text, words, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text(text, "utf-8")
    refused(capsys, words, "train", "-c", "bad.yaml")


def test_missing_config_and_binary_config(tmp_path, capsys):
    refused(capsys, "did you mean", "train", "-c", "lenet_spconv_digit")
    (tmp_path / "bad.yaml").write_bytes(bytes(range(256)))
    refused(capsys, "cannot read the config", "train", "-c", "bad.yaml")


@pytest.mark.parametrize(
    ("config", "file"),
    [("resnet20_conv_cifar10", "cifar-10-python.tar.gz"), ("lenet_conv_mnist", "train-images-idx3-ubyte.gz")],
)
def test_damaged_data_files(config, file, tmp_path, capsys):
    for name in (file, f"mnist/{file}", "mnist/train-labels-idx1-ubyte.gz"):
        (tmp_path / "dataset" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dataset" / name).write_bytes(b"damaged")
    refused(capsys, "cannot be read as", "train", "-c", config, "-o", "Global.max_steps=1")


def image_folder(folder, *corrupt):
    for split in ("train", "val"):
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
            for index in range(3):
                Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / split / name / f"{index}.jpg")
    for name in corrupt:
        (folder / name).write_bytes(b"\xff\xd8\xff\xe0 not much of a picture")


def test_own_data_is_refused(tmp_path, capsys):
    refused(capsys, "ImageFolder needs the folder", *PHOTOS)
    (tmp_path / "dataset" / "imagenet" / "train").mkdir(parents=True)
    refused(capsys, "holds no image", *PHOTOS)
    image_folder(tmp_path / "good", "train/a/1.jpg", "val/b/2.jpg")
    folder = "DataLoader.{}.dataset.image_root=" + str(tmp_path / "good")
    refused(capsys, "2 of 12 images cannot be read", *PHOTOS, folder.format("Train"), folder.format("Eval"))
    (tmp_path / "list.txt").write_text("train/a/0.jpg 7\n", "utf-8")
    listed = f"{{name: ImageList, image_root: {tmp_path / 'good'}, cls_label_path: {tmp_path / 'list.txt'}, "
    normalize = "transform_ops: [{CenterCrop: {size: 32}}, {Normalize: {mean: [0, 0, 0.0], std: [1.0, 1, 1]}}]}"
    refused(
        capsys,
        "the train data have the label 7",
        *PHOTOS,
        f"DataLoader.Train.dataset={listed}{normalize}",
        f"DataLoader.Eval.dataset={listed}{normalize}",
        "Arch.class_num=3",
    )
    (tmp_path / "list.txt").write_text("train/a/0.jpg -7\n", "utf-8")
    refused(
        capsys,
        "labels start at 0",
        *PHOTOS,
        f"DataLoader.Train.dataset={listed}{normalize}",
        f"DataLoader.Eval.dataset={listed}{normalize}",
    )


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that not even a superuser can write")
def test_a_paddleclas_network_without_paddleclas(monkeypatch, capsys):
    """As on Python 3.12 and 3.13."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "paddleclas" else find_spec(name))
    monkeypatch.delitem(sys.modules, "paddleclas", raising=False)
    refused(capsys, "needs paddleclas, which is not installed; it supports", *TRAIN, "Arch.name=paddleclas.ResNet18")


@pytest.mark.parametrize(
    ("option", "file", "words"),
    [
        ("--csv", "none/a.csv", "there is no folder none that can be written to"),
        ("--csv", ".", "cannot write .: it is a folder"),
        ("--plot", "none/a.png", "there is no folder none"),
        ("--plot", "a.xyz", "pictures end in one of"),
    ],
)
def test_files_are_looked_at_before_anything_is_measured(option, file, words, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ppeconv.benchmark.turns.Contestant", None)
    refused(capsys, words, "advise", "--arch", "LeNet", "--budget", "0.5", option, file)
    refused(capsys, words, "benchmark", "-c", "lenet_conv_digits", option, file)
    if option == "--csv":
        refused(capsys, words, "compare", "zoo:resnet20", option, file)


def test_unwritable_folder(run, capsys):
    refused(capsys, "cannot write the run folder", *TRAIN, "Global.output_dir=/proc/closed")
    refused(capsys, "cannot write", "export", "--run", run.path, "-o", "Global.save_inference_dir=/proc/closed/x")


def test_a_file_where_a_folder_should_be(run, tmp_path, capsys):
    (tmp_path / "file").write_text("mine", "utf-8")
    refused(capsys, "cannot write the run folder", *TRAIN, "Global.output_dir=file")
    refused(capsys, "cannot write", "export", "--run", run.path, "-o", f"Global.save_inference_dir={tmp_path}/file/x")
    refused(capsys, "cannot write", "export", "--run", run.path, "--weights", tmp_path / "file" / "w.pdparams")
    refused(capsys, "written as .pdparams or .safetensors", "export", "--run", run.path, "--weights", "w.onnx")
    with pytest.raises(UserError, match="cannot write"):  # longer than a file system takes
        Experiment.open(run.path).save_weights(f"{'x' * 300}/w.pdparams")
    for name in ("latest", "best_model"):
        before = (run.path / f"{name}.pdparams").read_bytes()
        for start in (run.path, "zoo:lenet_mnist"):
            arguments = ["export", "--run", start, "--weights", run.path / f"{name}.pdparams"]
            refused(capsys, f"is a file of the run {run.path}; write elsewhere", *arguments)
        assert (run.path / f"{name}.pdparams").read_bytes() == before


@pytest.mark.parametrize("tool", ["eval", "export"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run", "nowhere"], "nowhere is not a run folder"),
        (["-c", "lenet_spconv_digits"], "there are no weights"),
        (["-c", "lenet_spconv_digits", "-o", "Global.pretrained_model=nowhere"], "there are no weights nowhere"),
        (["-c", "lenet_conv_digits", "-o", "Global.pretrained_model={run}"], "of another network"),
        (["--run", "{run}", "-o", "Global.pretrained_model=nowhere"], "there are no weights nowhere"),
        (["--run", "{run}", "-o", "Arch.class_num=11"], "has 10 names, and Arch.class_num is 11"),
        (["--run", "{run}", "-o", "Arch.clas_num=11"], "did you mean 'class_num'"),
        (["--run", "{run}", "--import", "no_such_module"], "--import no_such_module"),
    ],
)
def test_eval_and_export_refuse(tool, arguments, words, run, capsys):
    refused(capsys, words, tool, *[argument.format(run=run.path) for argument in arguments])


class Evil:
    """Pickled as a call."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("attack", ["os.system", "eval", "getattr"])
@pytest.mark.parametrize("suffix", [".pdparams", ".pdopt", ".pdstates"])
def test_files_that_want_to_run_code_are_refused(attack, suffix, run, tmp_path, capsys):
    mark = tmp_path / "owned"
    evil = {
        "os.system": Evil(os.system, f"touch {mark}"),
        "eval": Evil(eval, f"open({str(mark)!r}, 'w')"),
        "getattr": Evil(getattr, np.ndarray, "tofile"),
    }[attack]
    folder = tmp_path / "run" / "lenet_spconv_digits"
    folder.mkdir(parents=True)
    for file in run.path.glob("latest.*"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "config.yaml").write_text((run.path / "config.yaml").read_text("utf-8"), "utf-8")
    parts = {part: checkpoint.read(folder / f"latest{part}") for part in (".pdparams", ".pdopt", ".pdstates")}
    checkpoint.save(folder / "latest", {**parts, suffix: {"a": np.ones(2), "b": evil}})
    if suffix == ".pdparams":
        refused(
            capsys,
            "this file wants to call",
            "eval",
            "-c",
            "lenet_spconv_digits",
            "-o",
            f"Global.pretrained_model={folder / 'latest'}",
        )
    refused(
        capsys,
        "this file wants to call",
        *TRAIN,
        "Global.max_steps=5",
        f"Global.output_dir={tmp_path / 'run'}",
        "Global.checkpoints=auto",
    )
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1, 2]), pickle.dumps({"a": 1}), b"\x80\x04}."])
def test_foreign_weight_files(content, tmp_path, capsys):
    (tmp_path / "w.pdparams").write_bytes(content)
    (tmp_path / "w.safetensors").write_bytes(content)
    common = ["eval", "-c", "lenet_spconv_digits", "-o"]
    for name in ("w.pdparams", "w.safetensors"):
        code, _, error = call(capsys, *common, f"Global.pretrained_model={name}")
        assert code == 2
        assert name in error
        assert "Traceback" not in error


def test_a_checkpoint_of_another_format_is_refused(run, tmp_path, capsys):
    for file in run.path.glob("latest.*"):
        text = file.read_bytes()
        (tmp_path / file.name).write_bytes(text.replace(b'"format": 1', b'"format": 7'))
    refused(capsys, "has format 7, and this ppeconv reads format 1", *TRAIN, "Global.checkpoints=latest")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nowhere", "good.png"], "nowhere is not an exported model"),
        (["--model", "good.png", "good.png"], "good.png is not an exported model"),
        (["--model", "{run}", "good.png"], "it has no inference.yml; {model} is one"),
        (["--model", "x" * 300, "good.png"], "--model: should be a string, not empty, without a NUL character"),
        (["--model", "{model}", "gone.png"], "there is no image gone.png"),
        (["--model", "{model}", "gone/*.png"], "there is no image gone/*.png"),
        (["--model", "{model}", "empty"], "there is no image in the folder empty"),
        (["--model", "{model}", "good.png", "--topk", "0"], "--topk: should be an integer from 1 to"),
        (["--model", "half", "good.png"], "holds no exported network"),
        (["--model", "broken", "good.png"], "is damaged; make it again"),
        (["--model", "old", "good.png"], "has format 0"),
    ],
)
def test_predict_refuses(arguments, words, run, tmp_path, capsys):
    model = run.path / "inference"
    facts = yaml.safe_load((model / "inference.yml").read_text("utf-8"))
    for name, text in [
        ("half", yaml.safe_dump(facts)),
        ("broken", "class_names: [1"),
        ("old", yaml.safe_dump({**facts, "format": 0})),
    ]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "inference.yml").write_text(text, "utf-8")
    (tmp_path / "empty").mkdir()
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "good.png")
    places = {"run": run.path, "model": model}
    refused(capsys, words.format(**places), "predict", *[argument.format(**places) for argument in arguments])


def test_predict_refuses_a_gpu_that_is_not_there(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "x.png").touch()
    monkeypatch.setattr("ppeconv.engine.devices.has_gpu", lambda: False)
    refused(capsys, "sees no GPU", "predict", "--model", str(run.path / "inference"), "x.png", "--device", "gpu")


def test_usage(capsys):
    assert call(capsys)[0] == 2
    assert call(capsys, "trian")[0] == 2
    assert call(capsys, "--help")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "required: -c/--config; ppeconv train --help says what there is"),
        (["train", "-c", "lenet_spconv_digits", "--epochs", "1"], "unrecognized arguments: --epochs 1"),
        (["eval"], "one of the arguments --run -c/--config is required"),
        (["eval", "--run", "a", "-c", "b"], "not allowed with"),
        (["eval", "--run", ""], "--run: should be a string, not empty"),
        (["train", "-c", ""], "--config: should be a string, not empty"),
        (["eval", "--run", "a", "--widths", "nan"], "--widths: should be a number above 0 and at most 1; got 'nan'"),
        (["eval", "--run", "a", "--threads", "0"], "--threads: should be an integer from 1 to 1,024; got '0'"),
        (["export", "--run", "a", "--batch-size", "-1"], "--batch-size: should be an integer from 1 to"),
        (["export", "--run", "a", "--widths", "2"], "--widths: should be a number above 0 and at most 1; got '2'"),
        (["predict", "x.png"], "required: --model"),
        (["predict", "--model", "a", "x.png", "--topk", "many"], "--topk: should be an integer from 1 to"),
        (["predict", "--model", "a", "x.png", "--budget-ms", "0"], "--budget-ms: should be a number above 0"),
        (["slim", "--run", "a", "--budget", "0x1"], "--budget: should be a number above 0 and at most 1; got '0x1'"),
        (["benchmark", "-c", "lenet_conv_digits", "--rounds", "1.5"], "--rounds: should be an integer from 1 to"),
        (["list", "cats"], "invalid choice: 'cats'"),
    ],
)
def test_wrong_options_are_sentences(arguments, words, capsys):
    refused(capsys, words, *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval", "--run", "~/gone"],
        ["export", "--run", "~/gone"],
        ["train", "-c", "~/gone"],
        ["predict", "--model", "~/gone", "x.png"],
        ["benchmark", "--run", "~/gone"],
        ["benchmark", "-c", "~/gone"],
    ],
)
def test_home_is_expanded_in_path_options(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "x.png").touch()
    refused(capsys, str(tmp_path / "home" / "gone"), *arguments)


def test_an_option_that_takes_one_value_is_given_once(capsys):
    refused(capsys, "-c is given twice; give one", *TRAIN, "-c", "lenet_conv_digits")
    refused(capsys, "--run is given twice; give one", "eval", "--run", "a", "--run", "b")
    refused(capsys, "--budget-ms is given twice", "advise", "--arch", "LeNet", "--budget-ms", "1", "--budget-ms", "1")


def test_a_config_that_is_none(capsys):
    Path("configs").mkdir()
    refused(capsys, "configs is a folder; give a config file in it", "train", "-c", "configs")
    refused(capsys, "there is no config qqq.yaml; ppeconv list configs names those that", "train", "-c", "qqq.yaml")
    with pytest.raises(UserError, match="there is no config xxx"):  # longer than a file system takes
        find("x" * 300)
    Path("gbk.yaml").write_bytes("# 配置\n".encode("gbk"))
    refused(capsys, "cannot read the config gbk.yaml: byte 3 is no UTF-8; save it as UTF-8", "train", "-c", "gbk.yaml")


def test_a_console_that_is_not_utf8(monkeypatch):
    """Characters that it lacks are shown as their codes."""
    console = {name: io.TextIOWrapper(io.BytesIO(), encoding="ascii") for name in ("stdout", "stderr")}
    for name, stream in console.items():
        monkeypatch.setattr(sys, name, stream)
    assert main([*TRAIN, "Global.output_dir=输出"]) == 0
    assert main(["train", "-c", "猫.yaml"]) == 2
    output, errors = (stream.buffer.getvalue() for stream in console.values() if not stream.flush())
    assert b"\\u8f93\\u51fa/lenet_spconv_digits holds best_model" in output
    assert b"there is no config \\u732b.yaml" in errors


@pytest.mark.parametrize(
    ("reader", "code", "words"),
    [("| true", 141, b""), ("> /dev/full", 2, b"cannot write the output: No space left on device")],
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_output_that_takes_no_more(reader, code, words):
    tool = Path(__file__).parents[2] / "tools" / "list.py"
    line = f"'{sys.executable}' -W ignore '{tool}' operators {reader}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False)
    assert (done.returncode, words in done.stderr, b"Traceback" in done.stderr) == (code, True, False), done.stderr


def test_too_little_memory_is_a_sentence(capsys, monkeypatch):
    monkeypatch.setattr("ppeconv.experiment.parts.Parts.batches", lambda *arguments: paddle.zeros([10**13]))
    refused(capsys, "there is not enough memory ((ResourceExhausted) Fail to alloc memory of 40000000000000", *TRAIN)


def test_wrong_weights_are_found_before_wrong_data(capsys):
    refused(capsys, "there are no weights nowhere", *PHOTOS, "Global.pretrained_model=nowhere")
    refused(capsys, "no key 'epoch'", *PHOTOS, "Global.pretrained_model=nowhere", "Global.epoch=3")


def test_a_run_without_its_paddle_file_is_not_silently_random(run, tmp_path, capsys):
    paddle.save({"features.0.weight": paddle.ones([6, 1, 3, 3])}, str(tmp_path / "part.pdparams"))
    refused(
        capsys,
        "of another network",
        "export",
        "-c",
        "lenet_spconv_digits",
        "-o",
        f"Global.pretrained_model={tmp_path / 'part'}",
    )


def test_what_a_message_quotes_does_not_steer_the_terminal():
    assert str(UserError("a\x1b[2Jb\0c\rd\u202ee\n\tf")) == "a\\x1b[2Jb\\x00c\\rd\\u202ee\n\tf"
