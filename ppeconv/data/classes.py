"""Which class a label means. Classes are matched by name, wherever two sides have names for them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from ppeconv.data.datasets import DataSet
from ppeconv.errors import UserError, nearest

_NAMED = 20
_SPARSE = 100
"""Classes are not counted from labels of which only one in so many occurs."""


def check_labels(dataset: DataSet, split: str, class_num: int) -> None:
    """Raise a UserError for a label outside 0 to class_num - 1."""
    lowest, highest = int(dataset.labels.min()), int(dataset.labels.max())
    if lowest < 0 or highest >= class_num:
        wrong = lowest if lowest < 0 else highest
        raise UserError(
            f"the {split} data have the label {wrong}, but Arch.class_num is {class_num}; labels go from 0 to "
            "class_num - 1"
        )


def class_names(dataset: DataSet, class_num: int | None) -> list[str]:
    """The names of a network's classes: those of its training data, numbers for `class_num` beyond them."""
    names = list(dataset.class_names)
    if class_num is not None and class_num < len(names):
        check_labels(dataset, "train", class_num)
    elif class_num is None and dataset.numbered and len(names) > _SPARSE * (present := len(np.unique(dataset.labels))):
        raise UserError(
            f"the labels of the training data go up to {len(names) - 1}, but only {present} occur; labels number the "
            "classes from 0. Number them so, or set Arch.class_num where there are that many classes"
        )
    return names[:class_num] + [str(label) for label in range(len(names), class_num or 0)]


def match_classes(dataset: DataSet, names: Sequence[str], split: str) -> None:
    """Make the labels of a data set mean `names`, the classes of the network.

    Classes of the same name are the same. A list file that does not name its classes numbers them, so they are those
    of the same number.

    Raises:
        UserError: there are images of a class that is none of `names`.
    """
    own, known = list(map(_composed, dataset.class_names)), list(map(_composed, names))
    if not dataset.numbered and own != known[: len(own)]:
        check_labels(dataset, split, len(own))
        place = {name: label for label, name in enumerate(known)}
        unknown = [own[label] for label in np.unique(dataset.labels) if own[label] not in place]
        if unknown:
            near = nearest(unknown[0], known)
            raise UserError(
                f"the {split} data have images of classes that the network does not have: {_some(unknown)}"
                f"{near if 'did you mean' in near else f'; its classes are {_some(known)}'}. Classes are matched by "
                "name; give these the network's names, or take them out"
            )
        dataset.labels = np.array([place.get(name, -1) for name in own])[dataset.labels]
    dataset.class_names, dataset.numbered = list(names), False


def absent(dataset: DataSet, split: str) -> str:
    """A warning that names the classes without an image; "" where all have some."""
    missing = set(range(len(dataset.class_names))) - set(dataset.labels.tolist())
    names = [dataset.class_names[label] for label in sorted(missing)]
    return f"warning: no {split} image of {len(names)} classes: {_some(names)}" if names else ""


def _composed(name: str) -> str:
    """Letters with accents as one character each; the file systems of macOS take them apart."""
    return unicodedata.normalize("NFC", name)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
