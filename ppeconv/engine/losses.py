"""Losses, called with logits [N, classes], labels [N, 1] and the images, for a scalar each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.domains import FilePath, Positive, ShareOrNone, Temperature
from ppeconv.errors import UserError
from ppeconv.observe import require_fit
from ppeconv.registry import LOSSES


@LOSSES.register
class CELoss(nn.Layer):
    """Cross entropy; `epsilon` is the share of label smoothing."""

    def __init__(self, *, weight: Positive = 1.0, epsilon: ShareOrNone = 0.0):
        super().__init__()
        self.weight, self.epsilon = weight, epsilon

    def forward(self, logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        if not self.epsilon:
            return F.cross_entropy(logits, labels)
        smooth = F.label_smooth(F.one_hot(labels[:, 0], logits.shape[1]), epsilon=self.epsilon)
        return F.cross_entropy(logits, smooth, soft_label=True)


class Teacher(nn.Layer):
    """A trained network, and what is known of its training.

    Args:
        network: images [N, C, H, W] -> logits [N, classes].
        name: what messages call it.
        image_shape: [C, H, W] of the images it was trained on.
        class_names: its classes, in its order.
    """

    def __init__(
        self,
        network: nn.Layer,
        name: str,
        image_shape: Sequence[int] | None = None,
        class_names: Sequence[str] | None = None,
    ):
        super().__init__()
        self.network, self.name = network, name
        self.image_shape, self.class_names = image_shape, class_names

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


@LOSSES.register
class DistillLoss(nn.Layer):
    """Cross entropy against the softened predictions of a trained network, arXiv 1503.02531.

    Args:
        teacher: run folder of the trained network, `zoo:NAME`, or, from Python, the network itself.
        temperature: divides both networks' logits; the loss is multiplied by its square.
    """

    def __init__(self, *, teacher: FilePath | nn.Layer, weight: Positive = 1.0, temperature: Temperature = 4.0):
        super().__init__()
        self.weight, self.temperature = weight, temperature
        if isinstance(teacher, str):
            raise UserError(f"DistillLoss takes the teacher's network; ppeconv.Experiment opens run folders: {teacher}")
        if not isinstance(teacher, Teacher):
            teacher = Teacher(teacher, f"the teacher {type(teacher).__name__}")
        teacher.eval()
        object.__setattr__(self, "teacher", teacher)  # not a sub-layer: neither trained nor saved

    def require_fit(self, classes: Sequence[str], shape: Sequence[int]) -> None:
        """Raise a UserError unless the teacher takes images [C, H, W] of that shape and tells those classes apart."""
        teacher, name = self.teacher, self.teacher.name
        if teacher.image_shape and teacher.image_shape != list(shape):
            raise UserError(
                f"{name} was trained on images of {teacher.image_shape}, and these are {list(shape)}; take a teacher "
                "of the same data and transforms"
            )
        scores = list(require_fit(teacher.network, shape, name).shape)
        if scores != [1, len(classes)]:
            raise UserError(f"{name} gives {scores[1:]} scores for an image, and there are {len(classes)} classes")
        if teacher.class_names and teacher.class_names != list(classes):
            raise UserError(
                f"{name} knows the classes {teacher.class_names[:10]}, and these are {list(classes)[:10]}; take a "
                "teacher of the same classes in the same order"
            )

    def forward(self, logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        with paddle.no_grad():
            target = F.softmax(self.teacher(images) / self.temperature)
        return self.temperature**2 * F.cross_entropy(logits / self.temperature, target, soft_label=True)


class CombinedLoss(nn.Layer):
    """The weighted sum of a config's losses."""

    def __init__(self, entries: Sequence[Mapping[str, Mapping[str, Any] | None]]):
        super().__init__()
        self.terms = nn.LayerList(
            [LOSSES.create(name, **(arguments or {})) for entry in entries for name, arguments in entry.items()]
        )

    def require_fit(self, classes: Sequence[str], shape: Sequence[int]) -> CombinedLoss:
        """Itself; a UserError where one of the losses does not fit these classes and images [C, H, W]."""
        for term in self.terms:
            if hasattr(term, "require_fit"):
                term.require_fit(classes, shape)
        return self

    def forward(self, logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        return sum(term.weight * term(logits, labels, images) for term in self.terms)


def auxiliary_loss(model: nn.Layer) -> Tensor | float:
    """The sum of what layers add to the loss themselves: those that define `auxiliary_loss()`."""
    return sum(
        (layer.auxiliary_loss() for layer in model.sublayers(include_self=True) if hasattr(layer, "auxiliary_loss")),
        0.0,
    )
