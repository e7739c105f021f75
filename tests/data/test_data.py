"""Data sets, transforms, batches."""

from itertools import chain, zip_longest
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ppeconv import UserError, config
from ppeconv.data import batches as module
from ppeconv.data.batches import Batches, Pipeline
from ppeconv.data.datasets import MNIST, Cifar10, Digits, FashionMNIST, ImageFolder
from ppeconv.data.images import read_image
from ppeconv.data.transforms import sized
from ppeconv.errors import WorkersLost
from ppeconv.experiment.parts import Parts
from ppeconv.registry import TRANSFORMS

AUGMENTED = [
    {"RandomCrop": {"size": 28, "padding": 3}},
    {"RandomHorizontalFlip": None},
    {"Normalize": {"mean": [0.3], "std": [0.4]}},
]


def epoch(number=0, workers=0, start=0, seed=5):
    batches = Batches(Digits(".", "test"), Pipeline(AUGMENTED), 50, shuffle=True, seed=seed, num_workers=workers)
    return [(images.numpy(), labels.numpy()) for images, labels in batches.epoch(number, start)]


def equal(first, second):
    return all((a == b).all() for pair in zip(first, second, strict=True) for a, b in zip(*pair, strict=True))


def test_digits_are_real_and_split_without_overlap():
    train, test = Digits(".", "train"), Digits(".", "test")
    assert len(train) == 1437
    assert len(test) == 360
    assert np.bincount(test.labels).min() > 20
    seen = {image.tobytes() for image in train.arrays[0]}
    assert sum(image.tobytes() in seen for image in test.arrays[0]) == 0


def test_training_images_are_held_out_for_choices():
    everything, test = Digits(".", "train"), Digits(".", "test")
    train, held_out = (Digits(".", split, val_ratio=0.2) for split in ("train", "test"))
    assert len(train) + len(held_out) == len(everything)
    images = {split: {image.tobytes() for image in split.arrays[0]} for split in (everything, train, held_out, test)}
    assert images[train] | images[held_out] == images[everything]
    assert not images[held_out] & (images[train] | images[test])
    shares = np.bincount(held_out.labels) / np.bincount(everything.labels)
    np.testing.assert_allclose(shares, 0.2, atol=0.01)


def test_any_number_of_workers_gives_the_same_batches():
    assert equal(epoch(workers=0), epoch(workers=2))


def test_epochs_and_seeds_differ():
    assert not equal(epoch(0), epoch(1))
    assert not equal(epoch(seed=5), epoch(seed=6))


def test_an_epoch_begins_anywhere():
    assert equal(epoch()[3:], epoch(start=3))


def test_augmentation_of_an_image_depends_on_its_index_not_on_its_place():
    """The same image gets the same augmentation whatever the batch size."""

    def images_by_content(batch_size):
        batches = Batches(Digits(".", "test"), Pipeline(AUGMENTED), batch_size, shuffle=True, seed=1)
        return sorted(image.tobytes() for images, _ in batches.epoch(2) for image in images.numpy())

    assert images_by_content(7) == images_by_content(64)


def test_every_image_comes_once():
    labels = np.concatenate([labels[:, 0] for _, labels in epoch()])
    assert (np.bincount(labels) == np.bincount(Digits(".", "test").labels)).all()
    batches = Batches(Digits(".", "test"), Pipeline(AUGMENTED), 50, drop_last=True)
    assert len(batches) == len(list(batches.epoch())) == 7


@pytest.mark.parametrize("processes", [2, 3, 7])
def test_processes_share_every_batch_of_one_process(processes):
    """360 images in batches of 4 x processes: the last batch is uneven, and for 7 processes too small for all."""

    def content(batches, stop=None):
        return [sorted(image.tobytes() for image in images.numpy()) for images, _ in batches.epoch(3, 0, stop)]

    dataset = Digits(".", "test")
    whole = Batches(dataset, Pipeline(AUGMENTED), 4 * processes, shuffle=True)
    parts = [
        Batches(dataset, Pipeline(AUGMENTED), 4, shuffle=True, rank=rank, processes=processes)
        for rank in range(processes)
    ]
    together = [sorted(chain(*shares)) for shares in zip_longest(*map(content, parts), fillvalue=[])]
    assert together == content(whole)
    for batches in parts:
        assert len(batches) == len(content(batches, stop=1000)) == len(whole) - (len(together[-1]) < processes)
        assert [batches.images_in(number) for number in range(len(whole))] == [len(images) for images in together]


def test_too_few_images_for_all_processes():
    with pytest.raises(UserError, match="no full batch of 100 for 4 processes"):
        Batches(Digits(".", "test"), Pipeline(AUGMENTED), 100, drop_last=True, processes=4)


def test_normalize():
    images = np.random.randint(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    out = TRANSFORMS.create("Normalize", mean=mean, std=std)(images, None)
    expected = ((images / 255 - mean) / std).transpose(0, 3, 1, 2)
    assert out.dtype == np.float32
    assert out.flags.c_contiguous
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


def test_random_crop_cuts_from_the_padded_image():
    images = np.random.randint(1, 256, (50, 8, 8, 3), dtype=np.uint8)
    random = np.random.rand(50, 2)
    out = TRANSFORMS.create("RandomCrop", size=8, padding=2)(images, random)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    places = {(int(a), int(b)) for a, b in random * 5}
    assert len(places) > 15
    for image, source, (down, right) in zip(out, padded, (random * 5).astype(int), strict=True):
        assert (image == source[down : down + 8, right : right + 8]).all()


def test_flip_mirrors_the_chosen():
    images = np.random.randint(0, 256, (4, 3, 5, 1), dtype=np.uint8)
    out = TRANSFORMS.create("RandomHorizontalFlip")(images, np.array([[0.1], [0.9], [0.49], [0.5]]))
    assert (out[[0, 2]] == images[[0, 2], :, ::-1]).all()
    assert (out[[1, 3]] == images[[1, 3]]).all()


def test_photographs_of_any_size_become_one_batch():
    images = [
        np.random.randint(0, 256, (height, width, 3), dtype=np.uint8)
        for height, width in [(40, 60), (90, 33), (33, 33), (8, 9)]
    ]
    shapes = {
        "Resize": [{"Resize": {"size": [20, 24]}}],
        "CenterCrop": [{"Resize": {"size": 24}}, {"CenterCrop": {"size": 20}}],
        "RandomResizedCrop": [{"RandomResizedCrop": {"size": 20}}],
    }
    for operations in shapes.values():
        pipeline = Pipeline([*operations, {"Normalize": {"mean": [0, 0, 0.0], "std": [1.0, 1, 1]}}])
        out = pipeline(images, np.random.rand(4, pipeline.draws))
        assert out.shape[:3] == (4, 3, 20)
        assert pipeline.output_shape((256, 256, 3)) == list(out.shape[1:])


def test_images_of_several_sizes_without_a_resize_are_refused():
    pipeline = Pipeline([{"Normalize": {"mean": [0.0] * 3, "std": [1.0] * 3}}])
    with pytest.raises(UserError, match="put a Resize"):
        pipeline([np.zeros((4, 5, 3), np.uint8), np.zeros((5, 5, 3), np.uint8)])


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        ([], "should end with Normalize"),
        ([{"Resize": {"size": 8}}], "should end with Normalize"),
        ([{"Normalize": {"mean": [0.0], "std": [0.0]}}], "std.0 should be a number from 0.001 to 1"),
        ([{"Resize": {"size": 0}}], "size should be an integer from 1"),
        ([{"Resize": {"size": [1]}}], "or a list of 2"),
        ([{"CenterCrop": {"size": -1}}], "size should be an integer from 1"),
        ([{"Resize": {}}], "required"),
    ],
)
def test_wrong_transforms(operations, words):
    with pytest.raises(UserError, match=words):
        Pipeline(operations)


@pytest.mark.parametrize("shape", [(20000, 1, 3), (1, 65000, 3), (2, 20000, 1)])
def test_extreme_shapes_do_not_fill_the_memory(shape):
    """A short side of 1 enlarged to 256 would make the long one 5 million pixels."""
    image = np.arange(np.prod(shape), dtype=np.int64).astype(np.uint8).reshape(shape)
    resized = TRANSFORMS.create("Resize", size=256)([image], None)[0]
    assert min(resized.shape[:2]) == 256
    assert max(resized.shape[:2]) == 256 * 32
    for name in ("CenterCrop", "RandomResizedCrop"):
        assert TRANSFORMS.create(name, size=224)([image], np.full((1, 4), 0.5))[0].shape[:2] == (224, 224)


def test_long_images_are_resized_whole():
    image = np.zeros((10, 320, 3), np.uint8)
    image[:, [0, -1]] = 255
    resized = TRANSFORMS.create("Resize", size=20)([image], None)[0]
    assert resized.shape == (20, 640, 3)
    assert resized[:, [0, -1]].min() > 200


NORMALIZE = {"Normalize": {"mean": [0.5], "std": [0.5]}}


def test_transforms_follow_the_image_size():
    """Those without a size of their own; a transform of another kind keeps what it has."""
    operations = [{"randomResizedCrop": None}, {"RandomCrop": {"padding": 2}}, {"RandAugment": {}}, NORMALIZE]
    assert sized(operations, 48) == [
        *({"RandomResizedCrop": {"size": 48}}, {"RandomCrop": {"size": 48, "padding": 2}}, {"RandAugment": {}}),
        NORMALIZE,
    ]
    assert sized([{"Resize": {}}, NORMALIZE], 48)[0] == {"Resize": {"size": [48, 48]}}
    assert sized([{"Resize": {}}, {"CenterCrop": {}}], 48) == [{"Resize": {"size": 55}}, {"CenterCrop": {"size": 48}}]
    assert sized([{"Resize": {"size": 60}}, {"CenterCrop": {}}], 48)[0] == {"Resize": {"size": 60}}
    assert sized(operations, None) == operations


@pytest.mark.parametrize(
    ("dataset", "side", "resize", "channels"),
    [
        ("imagenet", 224, 256, 3),
        ("imagenet_299", 299, 342, 3),
        ("faces_112", 112, None, 3),
        ("imagenet_grey", 224, 256, 1),
    ],
)
def test_one_key_sizes_ones_own_pictures(dataset, side, resize, channels, tmp_path):
    write_photos(tmp_path / "photos", "train")
    write_photos(tmp_path / "photos", "val")
    shipped = config.find("lenet_conv_digits").parent / "_base_" / "datasets" / f"{dataset}.yaml"
    (tmp_path / "own.yaml").write_text(
        f"_base_: {shipped}\nArch: {{name: LeNet}}\n"
        "Optimizer: {name: Momentum, lr: {name: Constant, learning_rate: 1}}\n",
        "utf-8",
    )
    folders = [f"DataLoader.{split}.dataset.image_root={tmp_path / 'photos'}" for split in ("Train", "Eval")]
    folders += [f"DataLoader.{split}.loader.num_workers=0" for split in ("Train", "Eval")]
    for size, short in [(None, resize), (64, resize and 73)]:
        settings = folders + ([f"DataLoader.image_size={size}"] if size else [])
        parts = Parts(config.load(str(tmp_path / "own.yaml"), settings)).filled()
        filled = parts.config
        assert filled.Infer.image_shape == [channels, size or side, size or side]
        assert filled.Arch.arguments["image_size"] == (size or side)
        assert filled.Arch.arguments["in_channels"] == channels
        for split in ("train", "test"):
            image, _ = next(parts.batches(split).epoch(stop=1))
            assert image.shape[1:] == filled.Infer.image_shape
        first = parts.prediction_facts()["transform_ops"][0]
        assert first == {"Resize": {"size": short or [size or side] * 2}}


def test_a_size_of_its_own_wins():
    key = "DataLoader.Train.dataset.transform_ops.0.RandomResizedCrop.size=96"
    parts = Parts(config.load("resnet18_spconv_photos", [key, "DataLoader.image_size=64"]))
    assert parts.transforms("train")[0] == {"RandomResizedCrop": {"size": 96}}


def test_too_large_a_crop_is_refused():
    with pytest.raises(UserError, match="needs larger images"):
        TRANSFORMS.create("RandomCrop", size=9)(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 2)))


@pytest.mark.parametrize(
    ("dataset", "shape", "sizes"),
    [
        (Cifar10, (32, 32, 3), (50_000, 10_000)),
        (MNIST, (28, 28, 1), (60_000, 10_000)),
        (FashionMNIST, (28, 28, 1), (60_000, 10_000)),
    ],
)
def test_real_data_sets(dataset, shape, sizes, data_root):
    for split, size in zip(("train", "test"), sizes, strict=True):
        part = dataset(data_root, split)
        assert len(part) == size
        assert part.read(np.arange(3)).shape == (3, *shape)
        assert part.read(np.arange(3)).dtype == np.uint8
        assert (np.bincount(part.labels) > 800).all()
        assert len(part.class_names) == 10


def write_photos(folder, split, classes=("ant", "bee"), count=3):
    for label, name in enumerate(classes):
        (folder / split / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.full((20 + index, 30, 3), 40 * label + index, np.uint8)
            Image.fromarray(pixels).save(folder / split / name / f"{index}.png")


def test_image_folder(tmp_path):
    write_photos(tmp_path / "photos", "train")
    write_photos(tmp_path / "photos", "test")
    for split in ("train", "test"):
        dataset = ImageFolder(tmp_path, split, image_root="photos")
        assert dataset.class_names == ["ant", "bee"]
        assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert [image.shape for image in dataset.read(np.array([0, 5]))] == [(20, 30, 3), (22, 30, 3)]


def test_missing_folders_and_unreadable_images(tmp_path):
    with pytest.raises(UserError, match="needs the folder"):
        ImageFolder(tmp_path, "train", image_root="photos")
    (tmp_path / "photos" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no image"):
        ImageFolder(tmp_path, "train", image_root="photos")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"bad\.png cannot be read as an image"):
        read_image(tmp_path / "bad.png")


@pytest.mark.parametrize(
    ("free", "words"), [(4096, r"which has 4 KiB free; make it larger"), (2**33, r"it was killed, or there was no")]
)
def test_lost_workers_are_a_sentence(free, words, monkeypatch):
    def lost(*arguments, **options):
        raise SystemError("(Fatal) Blocking queue is killed because the data reader raises an exception.")

    monkeypatch.setattr(module, "DataLoader", lost)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: SimpleNamespace(free=free))
    with pytest.raises(WorkersLost, match=rf"has ended \(num_workers is 2\): .*{words}"):
        epoch(workers=2)
