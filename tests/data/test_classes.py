"""Classes are matched by name, wherever two sides have names for them."""

import numpy as np
import pytest
from PIL import Image

from ppeconv import UserError, config
from ppeconv.data.check import look_at
from ppeconv.data.classes import match_classes
from ppeconv.data.datasets import ImageFolder, ImageList
from ppeconv.engine.run import Run
from ppeconv.experiment.parts import Parts
from ppeconv.experiment.training import train
from tests.support.runs import call

SMALL = [
    *("Arch={name: LeNet}", "Global.epochs=2", "Global.max_steps=2", "DataLoader.Train.sampler.batch_size=4"),
    *("Operator=null", "DataLoader.Train.loader.num_workers=0", "DataLoader.Eval.loader.num_workers=0"),
    "DataLoader.Train.dataset.transform_ops=[{Resize: {size: [32, 32]}}, {Normalize: {mean: [0.5], std: [0.5]}}]",
    "DataLoader.Eval.dataset.transform_ops=[{Resize: {size: [32, 32]}}, {Normalize: {mean: [0.5], std: [0.5]}}]",
    *("DataLoader.Train.dataset.channels=1", "DataLoader.Eval.dataset.channels=1"),
]
"""A small network of grey images."""


def photos(folder, *classes, count=2):
    """Each class has a brightness of its own: that of its first letter."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(np.full((32, 32), ord(name[0]), np.uint8)).save(folder / name / f"{index}.png")


def loaded(folder, *settings):
    """The parts of a config of images in a folder, and where its run goes."""
    sides = [f"DataLoader.{side}.dataset.image_root={folder}" for side in ("Train", "Eval")]
    settings = [*SMALL, *sides, f"Global.output_dir={folder / 'output'}", *settings]
    return Parts(config.load("resnet18_spconv_photos", settings))


def letters(dataset, names):
    """Label -> first letter of the images that have it."""
    images = dataset.read(np.arange(len(dataset)))
    assert list(dataset.class_names) == list(names)
    return {int(label): chr(image[0, 0, 0]) for label, image in zip(dataset.labels, images, strict=True)}


def test_evaluation_takes_the_labels_of_training(tmp_path):
    photos(tmp_path / "train", "ant", "bee", "cat")
    photos(tmp_path / "val", "ant", "cat")
    filled = loaded(tmp_path).filled()
    names = ["ant", "bee", "cat"]
    assert filled.config.Infer.class_names == names
    assert letters(filled.dataset("train"), names) == {0: "a", 1: "b", 2: "c"}
    assert letters(filled.dataset("test"), names) == {0: "a", 2: "c"}
    warnings = look_at([filled.dataset(side) for side in ("train", "test")])
    assert "warning: no evaluation image of 1 classes: bee" in warnings


def test_an_unknown_class_is_refused_by_name(tmp_path):
    photos(tmp_path / "train", "ant", "bee")
    photos(tmp_path / "val", "ant", "been")
    with pytest.raises(UserError, match=r"evaluation data have images of classes .*: been; did you mean 'bee'"):
        loaded(tmp_path).filled().batches("test")
    for image in (tmp_path / "val" / "been").iterdir():
        image.unlink()
    assert letters(loaded(tmp_path).filled().dataset("test"), ["ant", "bee"]) == {0: "a"}


def test_class_names_in_another_order_are_understood(tmp_path):
    photos(tmp_path / "train", "ant", "bee")
    photos(tmp_path / "val", "ant", "bee")
    filled = loaded(tmp_path, "Infer.class_names=[bee, ant]").filled()
    for side in ("train", "test"):
        assert letters(filled.dataset(side), ["bee", "ant"]) == {0: "b", 1: "a"}
    with pytest.raises(UserError, match=r"training data have images of classes .*: ant, bee; its classes are x, y"):
        loaded(tmp_path, "Infer.class_names=[x, y]").filled().dataset("train")
    with pytest.raises(UserError, match=r"class_names should .*each once"):
        loaded(tmp_path, "Infer.class_names=[ant, ant]")


def test_no_names_are_for_networks_without_data():
    given = ["Infer.class_names=[]", "Infer.image_shape=[1,28,28]", "Arch.class_num=7"]
    empty = Parts(config.load("lenet_conv_digits", given))
    assert empty.filled().config.Arch.class_num == 7
    with pytest.raises(UserError, match=r"Infer\.class_names is empty"):
        empty.dataset("train")


def test_data_sets_in_memory_are_matched_too():
    digits = Parts(config.load("lenet_conv_digits", [f"Infer.class_names={list('9876543210')}"]))
    forward = Parts(config.load("lenet_conv_digits")).dataset("test")
    backward = digits.filled().dataset("test")
    assert (backward.labels == 9 - forward.labels).all()
    assert (backward.read(np.arange(3)) == forward.read(np.arange(3))).all()


def listed(folder, text, **options):
    (folder / "list.txt").write_text(text, "utf-8")
    return ImageList(folder, "test", image_root=".", cls_label_path="list.txt", **options)


def test_lists_are_matched_by_their_class_names(tmp_path):
    dataset = listed(tmp_path, "a.png 0\nb.png 1\n", class_names=["bee", "ant"])
    match_classes(dataset, ["ant", "bee", "cat"], "evaluation")
    assert dataset.labels.tolist() == [1, 0]
    assert dataset.class_names == ["ant", "bee", "cat"]


def test_numbered_classes_are_those_of_the_same_number(tmp_path):
    dataset = listed(tmp_path, "a.png 0\nb.png 2\n")
    match_classes(dataset, ["ant", "bee", "cat"], "evaluation")
    assert dataset.labels.tolist() == [0, 2]
    named = listed(tmp_path, "a.png 0\nb.png 1\n", class_names=["bee", "ant"])
    with pytest.raises(UserError, match="classes that the network does not have: bee, ant; its classes are 0, 1"):
        match_classes(named, ["0", "1"], "evaluation")


def test_accents_are_the_same_on_every_file_system(tmp_path):
    photos(tmp_path / "val", "cafe\u0301", "z")
    dataset = ImageFolder(tmp_path, "test", image_root=".")
    match_classes(dataset, ["z", "caf\u00e9"], "evaluation")
    assert dataset.labels.tolist() == [1, 1, 0, 0]


def test_a_run_keeps_its_classes(tmp_path, capsys):
    """Resumed or evaluated on other folders, by run or by config, its labels mean what they meant in training."""
    photos(tmp_path / "train", "ant", "bee", "cat")
    photos(tmp_path / "val", "ant", "bee", "cat")
    photos(tmp_path / "other" / "val", "cat", "dog")
    run = Run(tmp_path / "output" / "run")
    train(loaded(tmp_path), run)
    elsewhere = f"DataLoader.Eval.dataset.image_root={tmp_path / 'other'}"
    code, _, errors = call(capsys, "eval", "--run", run.path, "-o", elsewhere)
    assert code == 2
    assert "dog; its classes are ant, bee, cat" in errors.replace("'", "")
    (tmp_path / "other" / "val" / "dog").rename(tmp_path / "other" / "val" / "bee")
    code, said, _ = call(capsys, "eval", "--run", run.path, "-o", elsewhere)
    assert code == 0
    assert "no evaluation image of 1 classes: ant" in said
    assert [line.split(",")[0:2] for line in (run.path / "per_class.csv").read_text().splitlines()[1:]] == [
        *(["ant", "0"], ["bee", "2"], ["cat", "2"]),
    ]
    code, _, errors = call(capsys, "eval", "--run", run.path, "-o", "Infer.class_names=[cat, bee, ant]")
    assert code == 2
    assert "in another order" in errors

    (tmp_path / "train" / "ant").rename(tmp_path / "train" / "zebra")
    (tmp_path / "config.yaml").write_text(config.dump(loaded(tmp_path).config), "utf-8")
    weights = f"Global.pretrained_model={run.path}"
    code, said, _ = call(capsys, "eval", "-c", tmp_path / "config.yaml", "-o", weights)
    assert code == 0
    assert "  ant: top1" in said
    with pytest.raises(UserError, match=r"training data have images of classes .*: zebra"):
        train(loaded(tmp_path, "Global.checkpoints=auto", "Global.max_steps=3"), run)


def test_different_parts_on_the_two_sides_are_refused(tmp_path):
    photos(tmp_path, "ant", "bee", count=5)
    part = "DataLoader.{}.dataset.val_ratio={}"
    for ratios in ((0.2, 0.4), (0.2, "null"), ("null", 0.2)):
        settings = [part.format(side, ratio) for side, ratio in zip(("Train", "Eval"), ratios, strict=True)]
        with pytest.raises(UserError, match="would be on both sides; give both the same"):
            loaded(tmp_path, *settings).filled()
    digits = [part.format("Train", 0.2)]
    assert len(Parts(config.load("lenet_conv_digits", digits)).dataset("test")) == 360
    with pytest.raises(UserError, match="give both the same"):
        Parts(config.load("lenet_conv_digits", [part.format("Eval", 0.2)])).dataset("test")


@pytest.mark.parametrize(("count", "held_out"), [(1, 0), (2, 1), (3, 1), (5, 1), (8, 2), (10, 2)])
@pytest.mark.parametrize("val_ratio", [0.2, 0.8])
def test_every_class_is_on_both_sides(count, held_out, val_ratio, tmp_path):
    photos(tmp_path, "ant", count=count)
    photos(tmp_path, "bee", count=9)
    parts = [ImageFolder(tmp_path, side, image_root=".", val_ratio=val_ratio) for side in ("train", "test")]
    counts = [np.bincount(part.labels, minlength=2)[0] for part in parts]
    assert counts == ([count - held_out, held_out] if val_ratio < 0.5 or count == 1 else [held_out, count - held_out])
    assert not {*parts[0].paths} & {*parts[1].paths}


def test_images_on_both_sides_are_named(tmp_path):
    photos(tmp_path, "ant")
    dataset = listed(tmp_path, "ant/0.png 0\nant/1.png 0\n")
    other = listed(tmp_path, "ant/1.png 0\n")
    assert any("1 images are trained on and evaluated on" in line for line in look_at([dataset, other]))


def test_an_evaluation_leaves_no_image_out():
    with pytest.raises(UserError, match="drop_last is true, which leaves images out of the evaluation"):
        config.load("lenet_conv_digits", ["DataLoader.Eval.sampler.drop_last=true"])
