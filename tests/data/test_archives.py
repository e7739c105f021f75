"""The archives of CIFAR and MNIST: read as they are, refused where they are damaged or would run code."""

import gzip
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest

from ppeconv import UserError
from ppeconv.data import archives
from ppeconv.data.datasets import MNIST, Cifar10, Cifar100
from ppeconv.registry import DATASETS


def write_tar(file, members):
    with tarfile.open(file, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def batch(count, key=b"labels", first=0):
    planes = np.arange(first, first + count * 3072, dtype=np.int64).astype(np.uint8).reshape(count, 3072)
    labels = [label % 10 for label in range(first, first + count)]
    return pickle.dumps({b"data": planes, key: labels, b"coarse_labels": [0] * count}, protocol=2)


def write_cifar100(folder):
    """A small file in the official layout."""
    members = {
        f"cifar-100-python/{name}": batch(count, b"fine_labels") for name, count in [("train", 20), ("test", 10)]
    }
    write_tar(folder / "cifar-100-python.tar.gz", members)


def test_cifar100_in_the_official_layout(tmp_path):
    write_cifar100(tmp_path)
    dataset = Cifar100(tmp_path, "train")
    assert len(dataset) == 20
    assert len(Cifar100(tmp_path, "test")) == 10
    assert dataset.read(np.arange(2)).shape == (2, 32, 32, 3)
    assert len(dataset.class_names) == len(set(dataset.class_names)) == 100


def test_cifar10_comes_in_the_order_of_the_archive(tmp_path):
    """Planes of red, green and blue become pixels."""
    names = ["data_batch_4", "batches.meta", "test_batch", "data_batch_1"]
    contents = [batch(2, first=4), b"anything", batch(3), batch(1, first=1)]
    write_tar(tmp_path / "cifar-10-python.tar.gz", dict(zip(names, contents, strict=True)))
    dataset = Cifar10(tmp_path, "train")
    assert dataset.labels.tolist() == [4, 5, 1]
    assert len(Cifar10(tmp_path, "test")) == 3
    assert dataset.read(np.array([0]))[0, 0, 1].tolist() == [5, (5 + 1024) % 256, (5 + 2048) % 256]


class Call:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.parts = function, arguments

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize(("name", "member"), [("Cifar10", "data_batch_1"), ("Cifar100", "train")])
def test_code_in_an_archive_does_not_run(name, member, tmp_path):
    content = {b"data": Call(open, str(tmp_path / "ran"), "w"), b"labels": [0], b"fine_labels": [0]}
    file = f"{name.lower().replace('cifar', 'cifar-')}-python.tar.gz"
    write_tar(tmp_path / file, {member: pickle.dumps(content, protocol=2)})
    with pytest.raises(UserError, match=rf"{file} cannot be read as CIFAR .*wants to call io\.open"):
        len(DATASETS.create(name, tmp_path, "train"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "holds no image"),
        ({"test_batch": batch(1)}, "holds no image in members data_batch"),
        ({"data_batch_1": batch(0)}, "cannot be read as CIFAR"),
        ({"data_batch_1": b"no pickle"}, "cannot be read as CIFAR"),
        ({"data_batch_1": pickle.dumps([])}, "cannot be read as CIFAR"),
        ({"data_batch_1": pickle.dumps({b"data": np.zeros((1, 3072)), b"labels": [0]})}, "holds data float64"),
        ({"data_batch_1": pickle.dumps({b"data": np.zeros((1, 9), np.uint8), b"labels": [0]})}, "holds data uint8"),
        ({"data_batch_1": pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]})}, "labels (1,)"),
    ],
)
def test_archives_that_are_not_cifar(members, words, tmp_path):
    write_tar(tmp_path / "cifar-10-python.tar.gz", members)
    with pytest.raises(UserError) as error:
        len(Cifar10(tmp_path, "train"))
    assert words in str(error.value)
    assert "fetch the file anew" in str(error.value)


def write_mnist(folder, pixels, labels, magics=(2051, 2049), announced=None):
    (folder / "mnist").mkdir()
    arrays = {"images-idx3": pixels, "labels-idx1": labels}
    for magic, (kind, array) in zip(magics, arrays.items(), strict=True):
        header = struct.pack(f">{1 + array.ndim}I", magic, announced or len(array), *array.shape[1:])
        with gzip.open(folder / "mnist" / f"t10k-{kind}-ubyte.gz", "wb") as file:
            file.write(header + array.tobytes())


@pytest.mark.parametrize("count", [1, 99, 150])
def test_mnist_of_any_length(count, tmp_path):
    pixels = np.arange(count * 784).astype(np.uint8).reshape(count, 28, 28)
    write_mnist(tmp_path, pixels, (np.arange(count) % 10).astype(np.uint8))
    dataset = MNIST(tmp_path, "test")
    assert (dataset.read(np.arange(count)) == pixels[..., None]).all()
    assert (dataset.labels == np.arange(count) % 10).all()


IMAGES, LABELS = np.zeros((3, 28, 28), np.uint8), np.zeros(3, np.uint8)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((IMAGES, LABELS, (2052, 2049)), "begins with 2052, and 2051 was expected"),
        ((IMAGES, LABELS, (2051, 2051)), "begins with 2051, and 2049 was expected"),
        ((IMAGES, LABELS, (2051, 2049), 2), "announces 1568 bytes and holds 2352"),
        ((IMAGES, LABELS[:2]), "3 images, but .* has 2 labels"),
        ((IMAGES[:0], LABELS[:0]), "it holds 0 x 28 x 28"),
        ((IMAGES[:, :27], LABELS), "it holds 3 x 27 x 28"),
    ],
)
def test_archives_that_are_not_mnist(arguments, words, tmp_path):
    write_mnist(tmp_path, *arguments)
    with pytest.raises(UserError, match=words):
        len(MNIST(tmp_path, "test"))


@pytest.mark.parametrize("name", ["Cifar10", "MNIST"])
def test_missing_files_are_named(name, tmp_path, monkeypatch):
    def offline(*arguments, **keywords):
        raise RuntimeError("Cannot download within retry limit 3")

    monkeypatch.setattr("paddle.dataset.common.download", offline)
    with pytest.raises(UserError) as error:
        len(DATASETS.create(name, tmp_path, "train"))
    for words in (str(tmp_path), ".gz", "PPECONV_DATA", "retry limit 3"):
        assert words in str(error.value)


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"nothing of the kind")
    (tmp_path / "mnist").mkdir()
    for kind in ("images-idx3", "labels-idx1"):
        with gzip.open(tmp_path / "mnist" / f"t10k-{kind}-ubyte.gz", "wb") as file:
            file.write(b"short")
    for name in ("Cifar10", "MNIST"):
        with pytest.raises(UserError, match="cannot be read as"):
            len(DATASETS.create(name, tmp_path, "test"))


def test_archives_that_unpack_to_more_than_they_may(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_MOST", 2**20)
    bomb = gzip.compress(bytes(2**21))
    (tmp_path / "mnist").mkdir()
    for side in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (tmp_path / "mnist" / f"{side}-{kind}-ubyte.gz").write_bytes(bomb)
    with pytest.raises(UserError, match="it holds more than 1,048,576 bytes"):
        len(MNIST(tmp_path, "test"))
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-py/test_batch")
        member.size = 2**21
        archive.addfile(member, io.BytesIO(b"\x80\x04\x8e" + (2**20 + 9).to_bytes(8, "little") + bytes(2**21 - 11)))
    with pytest.raises(UserError, match="it holds more than 1,048,576 bytes"):
        len(Cifar10(tmp_path, "test"))
