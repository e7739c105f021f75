"""Own data, starting weights, frozen layers, Paddle's own ways of training."""

import csv

import numpy as np
import paddle
import pytest
from paddle import nn
from PIL import Image

import ppeconv
from ppeconv import UserError, create_model
from ppeconv.data.check import look_at
from ppeconv.data.datasets import Digits, ImageFolder
from ppeconv.engine.finetune import freeze
from ppeconv.engine.losses import CombinedLoss
from ppeconv.engine.mixing import Mixed
from ppeconv.engine.weights import load_weights, read_weights
from ppeconv.experiment import Experiment
from ppeconv.experiment.parts import Parts
from ppeconv.registry import BACKBONES, DATASETS, MIXTURES, TRANSFORMS
from tests.support.runs import call, digits_config, trained_run


def photos(folder, counts, size=40):
    """Class folders of photographs-to-be: a bright square in another corner for each class."""
    rng = np.random.default_rng(0)
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 80, (size + index % 5, size, 3), dtype=np.uint8)
            pixels[: size // 2, (size // 2) * label : (size // 2) * (label + 1)] += 150
            Image.fromarray(pixels).save(folder / name / f"{index:03}.jpg")


def photo_config(folder, *more):
    """A config of 12 lines or fewer for photographs in class folders."""
    text = """_base_: [{base}/_base_/datasets/imagenet.yaml, {base}/_base_/runtime.yaml]
Arch: {{name: ResNet18, width: 0.125, stem: cifar}}
Operator: {{name: SPConv, ratio: 0.5}}
Optimizer: {{name: Adam, lr: {{name: Cosine, learning_rate: 1e-3}}}}
DataLoader:
  Train: {{dataset: {{image_root: photos, val_ratio: 0.25, transform_ops: [
    {{RandomResizedCrop: {{size: 32, scale: [0.8, 1.0]}}}}, {norm}]}},
    sampler: {{batch_size: 8}}, loader: {{num_workers: 0}}}}
  Eval: {{dataset: {{image_root: photos, val_ratio: 0.25, transform_ops: [{{Resize: {{size: [32, 32]}}}}, {norm}]}},
    loader: {{num_workers: 0}}}}
"""
    from ppeconv import config as configs

    norm = "{Normalize: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}}"
    text = text.format(base=configs.find("lenet_conv_digits").resolve().parent, norm=norm)
    (folder / "mine.yaml").write_text(text, "utf-8")
    return [
        "-c",
        str(folder / "mine.yaml"),
        "-o",
        f"Global.data_root={folder}",
        f"Global.output_dir={folder / 'out'}",
        *more,
    ]


def test_own_photographs_from_training_to_prediction(tmp_path, capsys):
    photos(tmp_path / "photos", {"ant": 40, "bee": 12})
    code, text, error = call(capsys, "train", *photo_config(tmp_path, "Global.epochs=4"))
    assert code == 0, error
    assert "training data: 39 images, 2 of 2 classes present: ant 30, bee 9" in text
    assert "52 image files decoded" in text
    assert "imbalanced" in text
    run = tmp_path / "out" / "mine"
    code, text, _ = call(capsys, "eval", "--run", run)
    assert code == 0
    assert "ant: top1" in text
    assert (run / "confusion.png").stat().st_size > 1000
    with open(run / "per_class.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["class"], row["images"]) for row in rows] == [("ant", "10"), ("bee", "3")]
    assert call(capsys, "export", "--run", run)[0] == 0
    code, text, _ = call(capsys, "predict", "--model", run / "inference", tmp_path / "photos" / "bee", "--topk", 2)
    assert code == 0
    assert len(text.splitlines()) == 12
    assert "bee" in text


def test_split_by_ratio_is_stable_alike_in_every_class_and_without_overlap(tmp_path):
    photos(tmp_path / "photos", {"ant": 20, "bee": 8, "cat": 4})
    train, test = (ImageFolder(tmp_path, split, image_root="photos", val_ratio=0.25) for split in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [15, 6, 3]
    assert np.bincount(test.labels).tolist() == [5, 2, 1]
    assert not set(train.paths) & set(test.paths)
    assert train.paths == ImageFolder(tmp_path, "train", image_root="photos", val_ratio=0.25).paths
    with pytest.raises(UserError, match="val_ratio should be a number above 0 and below 1"):
        DATASETS.create("ImageFolder", tmp_path, "train", image_root="photos", val_ratio=1.5)


def test_a_run_taken_up_on_other_images_says_so(tmp_path, capsys):
    photos(tmp_path / "photos", {"ant": 12, "bee": 12})
    call(capsys, "train", *photo_config(tmp_path, "Global.max_steps=1"))
    (tmp_path / "photos" / "bee" / "000.jpg").unlink()
    code, text, error = call(capsys, "train", *photo_config(tmp_path, "Global.max_steps=2", "Global.checkpoints=auto"))
    assert code == 0, error
    assert "not equal to an unbroken run, as its training images are others now (18 before, 17 now)" in text


def test_unreadable_images_are_left_out_from_the_beginning(tmp_path, capsys):
    photos(tmp_path / "photos", {"ant": 12, "bee": 12})
    for split in ("train", "test"):
        ImageFolder(tmp_path, split, image_root="photos", val_ratio=0.25).paths[3].write_bytes(b"no image")
    skip = [f"DataLoader.{side}.loader.skip_unreadable=1" for side in ("Train", "Eval")]
    code, text, error = call(capsys, "train", *photo_config(tmp_path, "Global.epochs=1", skip[0]))
    assert code == 2
    assert "2 of 24 images cannot be read" in error
    code, text, error = call(capsys, "train", *photo_config(tmp_path, "Global.epochs=1", *skip))
    assert code == 0, error
    assert "warning: 2 of 24 images cannot be read" in text
    assert text.count("left out, 1 of at most 1") == 2


def test_of_very_many_images_some_are_read_and_all_are_looked_for(tmp_path, monkeypatch):
    photos(tmp_path / "photos" / "test", {"ant": 40})
    monkeypatch.setattr("ppeconv.data.check._READ_ALL", 39)
    monkeypatch.setattr("ppeconv.data.check._READ_SOME", 10)
    dataset, digits = ImageFolder(tmp_path, "test", image_root="photos"), Digits(".", "test")
    assert look_at([dataset, digits])[-1] == "40 image files, 8 of them decoded"
    dataset.paths[0].write_bytes(b"no image")
    dataset.paths[7].write_bytes(b"no image")
    dataset.paths[8].unlink()
    with pytest.raises(UserError) as error:
        look_at([dataset, digits])
    assert "2 of 40 images cannot be read" in str(error.value)
    assert "000.jpg cannot be read as an image" in str(error.value)
    assert f"there is no image {dataset.paths[8]}" in str(error.value)


def test_unreadable_files_are_named_up_to_twenty(tmp_path):
    photos(tmp_path / "photos" / "test", {"ant": 30})
    for index in range(25):
        file = tmp_path / "photos" / "test" / "ant" / f"{index:03}.jpg"
        file.write_bytes(file.read_bytes()[:-300] if index else b"no image")
    dataset = ImageFolder(tmp_path, "test", image_root="photos")
    with pytest.raises(UserError) as error:
        look_at([dataset, Digits(".", "test")])
    text = str(error.value)
    assert "25 of 30 images cannot be read" in text
    assert text.count(".jpg cannot be read as an image") == 20
    assert "and 5 more" in text


def test_balance_is_described():
    digits = Digits(".", "test")
    lines = look_at([digits, digits])
    assert len(lines) == 2
    assert lines[1].startswith("evaluation data: 360 images, 10 of 10 classes present: 0 ")


def test_starting_from_a_run_with_another_class_count_swaps_the_head(tmp_path, capsys):
    first = trained_run(tmp_path / "first", "Global.max_steps=5", name="lenet_conv_digits")
    capsys.readouterr()
    second = trained_run(
        tmp_path / "second",
        "Global.max_steps=3",
        f"Arch.pretrained={first.path}",
        "Arch.class_num=12",
        "Arch.freeze=['features.*']",
        name="lenet_conv_digits",
    )
    text = capsys.readouterr().out
    assert "8 of the network's 10 arrays loaded, skipped (other name or shape): 2 (fc.4.bias, fc.4.weight)" in text
    assert "frozen: 4 of 10 parameter arrays" in text
    one, other = (read_weights(run.latest.with_suffix(".pdparams")).arrays for run in (first, second))
    best = read_weights(first.best.with_suffix(".pdparams")).arrays
    assert all((best[name] == other[name]).all() for name in best if name.startswith("features"))
    assert other["fc.4.weight"].shape == (84, 12)
    assert (one["fc.0.weight"] != other["fc.0.weight"]).any()


def test_fashion_network_becomes_a_digit_network(data_root, tmp_path):
    """A trunk trained on clothes, kept frozen, reads MNIST far above chance."""
    common = [f"Global.data_root={data_root}", "Global.max_steps=150"]
    first = trained_run(tmp_path / "a", *common, name="lenet_conv_fashionmnist")
    second = trained_run(
        tmp_path / "b", *common, f"Arch.pretrained={first.path}", "Arch.freeze=['features.*']", name="lenet_conv_mnist"
    )
    with open(second.path / "results.csv", encoding="utf-8") as file:
        assert float(list(csv.DictReader(file))[-1]["eval_top1"]) > 0.8


def test_frozen_batch_norms_keep_their_statistics():
    model = create_model("ResNet20", operator="SPConv")
    assert "frozen" in freeze(model, ["layer1.*", "bn1.*"])
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    model.train()
    model(paddle.randn([4, 3, 32, 32])).sum().backward()
    after = {name: value.numpy() for name, value in model.state_dict().items()}
    moved = {name for name in before if (before[name] != after[name]).any()}
    assert moved
    assert not any(name.startswith(("layer1.", "bn1.")) for name in moved)
    with pytest.raises(UserError, match=r"'layr1\.\*', which matches no parameter"):
        freeze(model, ["layr1.*"])
    with pytest.raises(UserError, match="nothing is left to train"):
        freeze(model, ["*"])


def test_weights_of_another_network_are_an_error(tmp_path):
    paddle.save({"other": paddle.ones([2])}, str(tmp_path / "w.pdparams"))
    with pytest.raises(UserError, match=r"of another network: .* 0 of the network's"):
        load_weights(create_model("LeNet"), tmp_path / "w.pdparams")


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_weights_are_written_and_read_back(suffix, tmp_path, capsys):
    run = trained_run(tmp_path, "Global.max_steps=2")
    target = tmp_path / f"weights{suffix}"
    assert call(capsys, "export", "--run", run.path, "--weights", target)[0] == 0
    arrays, own = read_weights(target).arrays, Experiment.open(run.path).model.state_dict()
    assert arrays.keys() == own.keys()
    assert all((arrays[name] == own[name].numpy()).all() for name in own)
    code, text, _ = call(capsys, "eval", "--run", run.path, "-o", f"Global.pretrained_model={tmp_path / 'weights'}")
    assert code == 0
    assert "[Eval]" in text


def test_paddle_save_files_are_read(tmp_path):
    model = create_model("LeNet")
    paddle.save(model.state_dict(), str(tmp_path / "w.pdparams"))
    arrays = read_weights(tmp_path / "w.pdparams").arrays
    assert arrays.keys() == model.state_dict().keys()


def test_imagenet_weights_load_where_the_names_are_paddles(tmp_path, monkeypatch, capsys):
    """Our ResNet18 has paddle.vision's parameter names; the download itself is left out."""
    paddle.save(paddle.vision.models.resnet18(num_classes=1000).state_dict(), str(tmp_path / "imagenet.pdparams"))
    monkeypatch.setattr(
        "paddle.utils.download.get_weights_path_from_url", lambda url, md5: str(tmp_path / "imagenet.pdparams")
    )
    pairs = {
        "ResNet18": "resnet18",
        "ResNeXt50": "resnext50_32x4d",
        "VGG16": "vgg16",
        "MobileNetV1": "mobilenet_v1",
        "MobileNetV2": "mobilenet_v2",
        "MobileNetV3Small": "mobilenet_v3_small",
        "SqueezeNet": "squeezenet1_1",
        "DenseNet121": "densenet121",
        "InceptionV3": "inception_v3",
    }
    for name, theirs in pairs.items():
        networks = create_model(name), getattr(paddle.vision.models, theirs)()
        shapes = [{key: list(value.shape) for key, value in net.state_dict().items()} for net in networks]
        assert shapes[0] == shapes[1], name

    def starting_weights(arch):
        return Parts(digits_config(tmp_path, f"Arch={arch}")).starting_weights()

    assert starting_weights("{name: ResNet18, pretrained: true}") == tmp_path / "imagenet.pdparams"
    for name in [name for name in BACKBONES.names() if hasattr(BACKBONES.get(name), "imagenet_weights")]:
        assert starting_weights(f"{{name: {name}, pretrained: true}}")
    with pytest.raises(UserError, match="no ImageNet weights for LeNet"):
        starting_weights("{name: LeNet, pretrained: true}")


@pytest.mark.parametrize(("name", "arguments"), [("RandomErasing", {"prob": 1.0}), ("RandAugment", {"num": 3})])
def test_augmentations_change_images_and_repeat_themselves(name, arguments):
    for channels in (1, 3):
        images = np.random.default_rng(0).integers(1, 256, (40, 24, 30, channels), dtype=np.uint8)
        transform = TRANSFORMS.create(name, **arguments)
        random = np.random.default_rng(1).random((40, transform.draws))
        once, again = transform(images, random), transform(images, random)
        assert once.shape == images.shape
        assert once.dtype == np.uint8
        assert (once == again).all()
        assert (once != images).any((1, 2, 3)).mean() > 0.8
        listed = transform(list(images), random)
        assert (np.stack(list(listed)) == once).all()


def test_erased_share_is_within_bounds():
    images = np.full((200, 32, 32, 3), 9, np.uint8)
    erase = TRANSFORMS.create("RandomErasing", prob=0.5, scale=[0.1, 0.2])
    erased = (erase(images, np.random.default_rng(2).random((200, 5))) == 0).mean((1, 2, 3))
    assert 0.4 < (erased > 0).mean() < 0.6
    assert 0.05 < erased[erased > 0].min() < erased.max() < 0.22


@pytest.mark.parametrize("name", ["Mixup", "CutMix"])
def test_mixtures_keep_the_share_they_say(name):
    mixture, rng = MIXTURES.create(name, alpha=1.0), np.random.default_rng(3)
    for _ in range(20):
        mixed, share = mixture(paddle.ones([2, 3, 20, 20]), paddle.zeros([2, 3, 20, 20]), rng)
        assert 0 <= share <= 1
        assert float(mixed.mean()) == pytest.approx(share, abs=1e-5)
    with pytest.raises(UserError, match=r"alpha should be a number from 0\.001"):
        MIXTURES.create(name, alpha=0.0)


def test_training_on_mixtures(tmp_path):
    run = trained_run(
        tmp_path, "Global.epochs=2", "DataLoader.Train.dataset.batch_transform_ops=[{Mixup: {alpha: 0.2}}, {CutMix: }]"
    )
    assert float((run.path / "results.csv").read_text("utf-8").splitlines()[2].split(",")[5]) > 0.6
    gradients = []
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    strategy = Mixed(CombinedLoss([{"CELoss": {}}]), [{"Mixup": {"alpha": 0.001}}])
    paddle.seed(1)
    strategy(model, paddle.randn([6, 1, 2, 2]), paddle.zeros([6, 1], "int64"), lambda loss: gradients.append(loss))
    assert len(gradients) == 1


def test_paddle_model_fit_with_visualdl(tmp_path):
    """The high-level API trains our networks, with VisualDL's callback."""
    from ppeconv.models import resnet20_sp

    class Pictures(paddle.io.Dataset):
        def __len__(self):
            return 32

        def __getitem__(self, index):
            rng = np.random.default_rng(index)
            return rng.standard_normal((3, 16, 16)).astype("float32"), np.array([index % 10])

    model = paddle.Model(resnet20_sp(num_classes=10))
    model.prepare(
        paddle.optimizer.Adam(1e-3, parameters=model.parameters()), nn.CrossEntropyLoss(), paddle.metric.Accuracy()
    )
    model.fit(
        Pictures(),
        Pictures(),
        batch_size=16,
        epochs=1,
        verbose=0,
        callbacks=paddle.callbacks.VisualDL(log_dir=str(tmp_path / "vdl")),
    )
    assert list((tmp_path / "vdl").rglob("vdlrecords*"))


def test_the_published_spconv_script_runs_with_its_import_changed(data_root):
    """The flow of the published Paddle reproduction on a few real images; only the network's import is ours."""
    from paddle.metric import Accuracy
    from paddle.vision.transforms import Compose, Normalize, Resize, ToTensor

    from ppeconv.models import resnet18_sp

    transform = Compose([ToTensor(), Normalize(), Resize(size=(64, 64))])
    archive = str(data_root / "cifar-10-python.tar.gz")
    test = paddle.vision.datasets.Cifar10(data_file=archive, mode="test", transform=transform)
    loader = paddle.io.DataLoader(paddle.io.Subset(test, list(range(8))), batch_size=4, shuffle=True, drop_last=True)
    model = paddle.Model(resnet18_sp(num_classes=10))
    optimizer = paddle.optimizer.Adam(learning_rate=3e-4, parameters=model.parameters())
    model.prepare(optimizer, nn.CrossEntropyLoss(), Accuracy())
    model.fit(train_data=loader, eval_data=loader, epochs=1, num_iters=2, verbose=0)
    assert np.isfinite(model.evaluate(loader, verbose=0)["loss"]).all()


def test_plain_loop():
    model = create_model("LeNet", operator="SPConv")
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    images, labels = paddle.randn([16, 1, 28, 28]), paddle.randint(0, 10, [16])
    losses = []
    for _ in range(10):
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < losses[0]


def test_operators_from_outside(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_ops.py").write_text(
        '''"""An operator of a user's own."""
import ppeconv
from ppeconv.operators.conv2d import Conv2D

@ppeconv.register_operator
class TwiceConv(Conv2D):
    """A convolution times two."""
    def forward(self, x):
        return 2 * super().forward(x)
''',
        "utf-8",
    )
    common = ["-c", "lenet_spconv_digits", "-o", "Operator={name: TwiceConv}", "Global.max_steps=1"]
    assert call(capsys, "train", *common)[0] == 2
    code, text, error = call(capsys, "train", *common, "--import", "my_ops")
    assert code == 0, error
    assert "TwiceConv: " in text
    assert call(capsys, "train", *common, "--import", "no_ops")[0] == 2
    del ppeconv.OPERATORS._entries["TwiceConv"], ppeconv.OPERATORS._aliases["twiceconv"]
