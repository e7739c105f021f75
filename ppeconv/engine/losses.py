"""Losses, called with logits [N, classes], labels [N, 1] and the images, for a scalar each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv import observe
from ppeconv.domains import FilePath, LayerNames, Positive, ShareOrNone, Temperature
from ppeconv.errors import UserError, nearest
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

    With `layers` their feature maps are learned, too: the mean square of what they differ by, divided by that of the
    teacher's. FitNets (arXiv 1412.6550) do so before the training proper, and with a layer in between.

    Args:
        teacher: run folder of the trained network, `zoo:NAME`, or, from Python, the network itself.
        temperature: divides both networks' logits; the loss is multiplied by its square.
        layers: paths of layers that give the same shape in both networks; for training at one width.
        layer_weight: of the mean over these layers.
    """

    def __init__(
        self,
        *,
        teacher: FilePath | nn.Layer,
        weight: Positive = 1.0,
        temperature: Temperature = 4.0,
        layers: LayerNames = (),
        layer_weight: Positive = 1.0,
    ):
        super().__init__()
        self.weight, self.temperature = weight, temperature
        self.layers, self.layer_weight = layers, layer_weight
        self._given: dict[str, Tensor] = {}
        if isinstance(teacher, str):
            raise UserError(f"DistillLoss takes the teacher's network; ppeconv.Experiment opens run folders: {teacher}")
        if not isinstance(teacher, Teacher):
            teacher = Teacher(teacher, f"the teacher {type(teacher).__name__}")
        teacher.eval()
        object.__setattr__(self, "teacher", teacher)  # not a sub-layer: neither trained nor saved

    def require_fit(self, classes: Sequence[str], shape: Sequence[int], student: nn.Layer | None = None) -> None:
        """Raise a UserError unless the teacher takes images [C, H, W] of that shape and tells those classes apart.

        With `layers` there is a student, too, in which these give what they give in the teacher.
        """
        teacher, name = self.teacher, self.teacher.name
        if teacher.image_shape and teacher.image_shape != list(shape):
            raise UserError(
                f"{name} was trained on images of {teacher.image_shape}, and these are {list(shape)}; take a teacher "
                "of the same data and transforms"
            )
        scores = list(observe.require_fit(teacher.network, shape, name).shape)
        if scores != [1, len(classes)]:
            raise UserError(f"{name} gives {scores[1:]} scores for an image, and there are {len(classes)} classes")
        if teacher.class_names and teacher.class_names != list(classes):
            raise UserError(
                f"{name} knows the classes {teacher.class_names[:10]}, and these are {list(classes)[:10]}; take a "
                "teacher of the same classes in the same order"
            )
        if self.layers:
            self._require_same_maps(student, shape)

    def _require_same_maps(self, student: nn.Layer | None, shape: Sequence[int]) -> None:
        if student is None:
            raise UserError(
                "DistillLoss compares feature maps in Loss.Train alone, and not where AnyWidth trains several widths; "
                "leave its layers out"
            )
        network, name = self.teacher.network, self.teacher.name
        learned, taught = self._maps(student, shape, type(student).__name__), self._maps(network, shape, name)
        for layer in self.layers:
            if learned[layer] != taught[layer] or isinstance(learned[layer], str):
                raise UserError(
                    f"DistillLoss.layers compares what layers give in both networks; {layer} gives {learned[layer]} in "
                    f"{type(student).__name__} and {taught[layer]} in {name}"
                )

    def _maps(self, network: nn.Layer, shape: Sequence[int], name: str) -> dict[str, list[int] | str]:
        """What the layers of a network give for one image: the shape without the batch's axis, or what it is."""
        there = [path for path, _ in network.named_sublayers()]
        for layer in self.layers:
            if layer not in there:
                raise UserError(f"DistillLoss.layers: {name} has no layer {layer!r}{nearest(layer, there)}")
        with observe.outputs(network, self.layers) as given:
            observe.require_fit(network, shape, name)
        return {
            layer: list(it.shape[1:]) if isinstance(it := given.get(layer), Tensor) else f"a {type(it).__name__}"
            for layer in self.layers
        }

    @contextmanager
    def watching(self, student: nn.Layer) -> Iterator[None]:
        """While this is open, what the layers of the student give in its forward pass is there for the loss."""
        with observe.outputs(student, self.layers) as given:
            self._given = given
            try:
                yield
            finally:
                self._given = {}

    def forward(self, logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        with paddle.no_grad(), observe.outputs(self.teacher.network, self._given) as taught:
            target = F.softmax(self.teacher(images) / self.temperature)
        loss = self.temperature**2 * F.cross_entropy(logits / self.temperature, target, soft_label=True)
        if not self._given:
            return loss
        apart = [F.mse_loss(it, taught[layer]) / taught[layer].square().mean() for layer, it in self._given.items()]
        return loss + self.layer_weight * sum(apart) / len(apart)


class CombinedLoss(nn.Layer):
    """The weighted sum of a config's losses."""

    def __init__(self, entries: Sequence[Mapping[str, Mapping[str, Any] | None]]):
        super().__init__()
        self.terms = nn.LayerList(
            [LOSSES.create(name, **(arguments or {})) for entry in entries for name, arguments in entry.items()]
        )

    def require_fit(
        self, classes: Sequence[str], shape: Sequence[int], student: nn.Layer | None = None
    ) -> CombinedLoss:
        """Itself; a UserError where one of the losses does not fit these classes, images [C, H, W] and the network."""
        for term in self.terms:
            if hasattr(term, "require_fit"):
                term.require_fit(classes, shape, student)
        return self

    @contextmanager
    def watching(self, student: nn.Layer) -> Iterator[None]:
        """While this is open, the losses see what the layers of a network give in its forward pass."""
        with ExitStack() as open_ones:
            for term in self.terms:
                if hasattr(term, "watching"):
                    open_ones.enter_context(term.watching(student))
            yield

    def forward(self, logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        return sum(term.weight * term(logits, labels, images) for term in self.terms)


def auxiliary_loss(model: nn.Layer) -> Tensor | float:
    """The sum of what layers add to the loss themselves: those that define `auxiliary_loss()`."""
    return sum(
        (layer.auxiliary_loss() for layer in model.sublayers(include_self=True) if hasattr(layer, "auxiliary_loss")),
        0.0,
    )
