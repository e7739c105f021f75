"""Where images and labels come from. A data set reads uint8 images by index and knows its class names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np

from ppeconv.data.archives import at_hand, read_cifar, read_idx
from ppeconv.data.found import Found, find_images, is_hidden
from ppeconv.data.images import read_image, resize
from ppeconv.data.lists import MOST_CLASSES, read_list
from ppeconv.domains import DISTINCT, SOME, FilePath, Share
from ppeconv.errors import UserError
from ppeconv.extras import install_hint, installed
from ppeconv.registry import DATASETS

Images = np.ndarray | list[np.ndarray]
"""uint8 [N, H, W, C], or a list of [H, W, C] where sizes differ."""


class DataSet(Protocol):
    """What training and evaluation ask of a data set."""

    class_names: list[str]
    labels: np.ndarray
    """int64 [N], positions in `class_names`."""
    numbered: bool
    """Whether `class_names` are numbers because the classes have no names."""
    left_out: str
    """Which files in its folders are none of its images, in a sentence; "" where all are."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """[H, W, C] of an image, or a size to try the transforms on where sizes differ."""

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> Images:
        """The images at these positions."""


def data_root(folder: str | None = None) -> Path:
    """Folder of the data sets: the one given, else $PPECONV_DATA, else `dataset`."""
    return Path(folder or os.environ.get("PPECONV_DATA") or "dataset").expanduser()


class ArraySet:
    """A data set that fits into memory; its shape and classes are known without its files.

    Args:
        root: folder of the data files.
        split: "train" or "test".
        val_ratio: evaluate on that share of each class of the training images, which training then leaves out, and not
            on the test images: for choices that must not be made on these.
    """

    class_names: list[str]
    shape: tuple[int, int, int]
    numbered = False
    left_out = ""
    has_test_images = True

    def __init__(self, root: str | Path, split: str, *, val_ratio: Share | None = None):
        self.root, self.side, self.val_ratio = Path(root), split, val_ratio
        self.split = split if val_ratio is None else "train"

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [N, H, W, C] and labels int64 [N]; read on first use."""
        images, labels = self.load()
        images, labels = images.reshape(len(labels), *self.shape), labels.astype(np.int64)
        if self.val_ratio is None:
            return images, labels
        chosen = part_of(labels, self.side, self.val_ratio)
        return images[chosen], labels[chosen]

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the files."""
        raise TypeError(f"{type(self).__name__} defines no load()")

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 [N]."""
        return self.arrays[1]

    def read(self, indices: np.ndarray) -> Images:
        """The images at these positions."""
        return self.arrays[0][indices]


def part_of(labels: np.ndarray, split: str, val_ratio: float) -> np.ndarray:
    """Positions of the training or the held-out part; each class is split alike and always in the same way.

    A class of two images or more has one on either side at least; a single image is trained on.
    """
    rng, kept = np.random.default_rng(0), []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held_out = min(max(1, round(len(members) * val_ratio)), len(members) - 1)
        kept.append(members[held_out:] if split == "train" else members[:held_out])
    chosen = np.sort(np.concatenate(kept))
    if not len(chosen):
        raise UserError(f"val_ratio {val_ratio} leaves no image for {split}; the classes have {len(labels)} images")
    return chosen


@DATASETS.register
class Cifar10(ArraySet):
    """CIFAR-10 from `cifar-10-python.tar.gz`: 50,000 + 10,000 images of 32x32, 10 classes."""

    class_names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    shape = (32, 32, 3)

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        from paddle.vision.datasets import cifar

        file = at_hand(self.root / "cifar-10-python.tar.gz", cifar.CIFAR10_URL, cifar.CIFAR10_MD5)
        return read_cifar(file, "data_batch" if self.split == "train" else "test_batch", "labels")


@DATASETS.register
class Cifar100(ArraySet):
    """CIFAR-100 from `cifar-100-python.tar.gz`: 50,000 + 10,000 images of 32x32, 100 classes."""

    class_names = """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel
        can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
        dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
        lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree
        pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea
        seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table
        tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman
        worm""".split()  # noqa: SIM905
    shape = (32, 32, 3)

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        from paddle.vision.datasets import cifar

        file = at_hand(self.root / "cifar-100-python.tar.gz", cifar.CIFAR100_URL, cifar.CIFAR100_MD5)
        return read_cifar(file, self.split, "fine_labels")


@DATASETS.register
class MNIST(ArraySet):
    """MNIST from the four official files in `mnist/`: 60,000 + 10,000 grey images of 28x28, 10 digits."""

    class_names = [str(digit) for digit in range(10)]
    shape = (28, 28, 1)
    folder = "mnist"

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        from paddle.vision import datasets

        source, side = getattr(datasets, type(self).__name__), "TRAIN" if self.split == "train" else "TEST"
        images, labels = (
            at_hand(
                self.root / self.folder / f"{'train' if self.split == 'train' else 't10k'}-{name}-ubyte.gz",
                getattr(source, f"{side}_{kind}_URL"),
                getattr(source, f"{side}_{kind}_MD5"),
            )
            for kind, name in (("IMAGE", "images-idx3"), ("LABEL", "labels-idx1"))
        )
        return read_idx(images, labels)


@DATASETS.register
class FashionMNIST(MNIST):
    """Fashion-MNIST from the four official files in `fashion-mnist/`: 60,000 + 10,000 grey images of 28x28."""

    class_names = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]
    folder = "fashion-mnist"


@DATASETS.register
class Digits(ArraySet):
    """scikit-learn's 1,797 handwritten digits (UCI), enlarged from 8x8 to 28x28; 360 are held out. No files."""

    class_names = [str(digit) for digit in range(10)]
    shape = (28, 28, 1)

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        if not installed("sklearn"):
            raise UserError(
                f"the data set Digits is part of scikit-learn, which is not installed; {install_hint('zoo')}"
            )
        from sklearn.datasets import load_digits

        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.target))
        chosen = order[:360] if self.split == "test" else order[360:]
        pixels = (digits.images[chosen] * (255 / 16)).astype(np.uint8)[..., None]
        return np.stack([resize(image, 28, 28) for image in pixels]), digits.target[chosen]


class FileSet:
    """Image files with labels, read when needed. Sub-classes set `paths`, `labels` and `class_names`."""

    channels: Literal[1, 3] = 3
    """Grey or RGB; files are read as that, whatever they hold."""
    paths: Sequence[Path]
    labels: np.ndarray
    class_names: list[str]
    numbered = False
    """Whether `class_names` are numbers because the classes have no names."""
    has_test_images = False
    """Whether evaluation without `val_ratio` is on images that training never takes."""
    left_out = ""
    """Which files in its folders are none of its images, in a sentence."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """A size to try the transforms on; the files may have any."""
        return 256, 256, self.channels

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: np.ndarray) -> Images:
        """The images at these positions."""
        return [read_image(self.paths[index], self.channels) for index in indices]

    def _keep_part(self, split: str, val_ratio: float) -> None:
        """Keep the training or the held-out part."""
        chosen = part_of(self.labels, split, val_ratio)
        self.paths = [self.paths[index] for index in chosen]
        self.labels = self.labels[chosen]


@DATASETS.register
class ImageFolder(FileSet):
    """Image files in class folders: `train/<class>/` and `val/<class>/` or `test/<class>/`, or one folder to split.

    Args:
        image_root: the folder; relative to Global.data_root unless absolute.
        val_ratio: hold out that share of each class of `<class>/` folders, instead of reading train/ and val/.
        channels: 1 reads the images as grey, 3 as RGB.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        image_root: FilePath,
        val_ratio: Share | None = None,
        channels: Literal[1, 3] = 3,
    ):
        self.channels = channels
        folder = _class_folders(Path(root) / image_root, split, val_ratio)
        found, classes = Found(), []
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and not is_hidden(entry.name):
                classes.append(entry)
            else:
                found.sort_in(entry)
        self.class_names = [_class_name(entry) for entry in classes]
        found.strays, found.paths = found.paths, []
        labels = []
        for label, entry in enumerate(classes):
            found.add(images := find_images(entry))
            labels += [label] * len(images.paths)
        self.paths, self.labels, self.left_out = found.paths, np.array(labels), found.left_out()
        if not self.paths:
            left_out = f" (left out: {self.left_out})" if self.left_out else ""
            raise UserError(f"{folder} holds no image in a class folder such as {folder}/cat/1.jpg{left_out}")
        if val_ratio is not None:
            self._keep_part(split, val_ratio)


def _class_name(folder: Path) -> str:
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        raise UserError(f"the name of the class folder {os.fsencode(folder)!r} is not UTF-8 text; rename it") from None
    return folder.name


def _class_folders(base: Path, split: str, val_ratio: float | None) -> Path:
    names = ["."] if val_ratio is not None else ["train"] if split == "train" else ["val", "test"]
    folders = [base / name for name in names]
    for folder in folders:
        if folder.is_dir():
            return folder
    raise UserError(
        f"ImageFolder needs the folder {' or '.join(map(str, folders))}, with a folder of images for each class; set "
        "image_root, -o Global.data_root=DIR or the variable PPECONV_DATA, or val_ratio to split one folder"
    )


@DATASETS.register
class ImageList(FileSet):
    """Image files named in a text file, a line `path label` each, with labels from 0.

    Args:
        image_root: folder that the paths start from; relative to Global.data_root unless absolute.
        cls_label_path: the text file, likewise.
        class_names: a name for each label; the labels themselves when not given.
        val_ratio: hold out that share of each class, where one list names all images.
        channels: 1 reads the images as grey, 3 as RGB.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        image_root: FilePath,
        cls_label_path: FilePath,
        class_names: Annotated[list[str], SOME, DISTINCT] | None = None,
        val_ratio: Share | None = None,
        channels: Literal[1, 3] = 3,
    ):
        self.channels = channels
        listing, folder = Path(root) / cls_label_path, Path(root) / image_root
        entries = read_list(listing, folder)
        highest = max(entry.label for entry in entries)
        if highest >= (len(class_names) if class_names else MOST_CLASSES):
            raise UserError(
                f"{listing} has the label {highest}, but "
                + (
                    f"there are only {len(class_names)} class_names"
                    if class_names
                    else f"labels number the classes, from 0 to at most {MOST_CLASSES - 1:,}"
                )
            )
        self.numbered = class_names is None
        self.class_names = class_names or [str(label) for label in range(highest + 1)]
        self.paths = [folder / entry.path for entry in entries]
        self.labels = np.array([entry.label for entry in entries])
        if val_ratio is not None:
            self._keep_part(split, val_ratio)
