"""`PPEConv`: any network of ppeconv that has feature maps, under the name by which ppdet's YAML asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paddle import Tensor, nn

from ppeconv.backbones.initial import initialise
from ppeconv.config.sections import OperatorSection
from ppeconv.engine.finetune import imagenet_weights
from ppeconv.engine.log import logger
from ppeconv.engine.weights import load_weights, weight_file
from ppeconv.errors import UserError
from ppeconv.integrations.ppdet.installed import import_ppdet
from ppeconv.layers.parameters import NORMS
from ppeconv.models.create import apply_operator, create_backbone
from ppeconv.schema import check
from ppeconv.surgery.features import FeatureMaps

_workspace = import_ppdet("core.workspace")
_shape_spec = import_ppdet("modeling.shape_spec")


class PPEConv(nn.Layer):
    """A backbone with an operator of one's choice: ppdet's inputs -> list of feature maps [N, C, H, W], finest first.

    Args:
        name: one of `ppeconv.list_backbones()` that has feature maps, such as "ResNet18".
        operator: one of `ppeconv.list_operators()`, or what a config's section Operator holds: a mapping
            {name: SPConv, ratio: 0.5, rules: ...} or a list of such, which are applied in order.
        operator_args: the operator's own arguments, where `operator` is a name.
        rules: which convolutions are replaced, where `operator` is a name; see `ppeconv.Rules`.
        return_idx: which feature maps are given, by their numbers from the finest, 0, on.
        pretrained: weights to start from: a weight file, a run folder, `zoo:NAME`, or true for ImageNet weights. What
            fits is loaded; the weights of operators that are not in them stay new.
        freeze_norm: batch norms keep their statistics and are not trained, as is usual from pretrained weights with few
            images in a step.
        arguments: the backbone's own, such as width: 0.5.

    Raises:
        UserError: a name or an argument is none, the network has no feature maps, or the weights do not fit.
    """

    def __init__(
        self,
        name: str = "ResNet18",
        operator: str | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        operator_args: Mapping[str, Any] | None = None,
        rules: Mapping[str, Any] | None = None,
        return_idx: Sequence[int] = (1, 2, 3),
        pretrained: bool | str | None = None,
        freeze_norm: bool = False,
        **arguments: Any,
    ):
        super().__init__()
        model = create_backbone(name, init="paddle", **{"class_num": 1, **arguments})
        for section in _sections(operator, operator_args, rules):
            model, report = apply_operator(model, section.choice, section.rules)
            logger.info(str(report))
        initialise(model, name, "reference")
        if pretrained:
            logger.info(load_weights(model, imagenet_weights(name) if pretrained is True else weight_file(pretrained)))
        self.maps = FeatureMaps(model)
        self.return_idx = _indices(return_idx, len(self.maps.channels))
        if freeze_norm:
            _freeze_norms(self)

    def forward(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        maps = self.maps(inputs["image"])
        return [maps[index] for index in self.return_idx]

    @property
    def out_shape(self) -> list[Any]:
        """Channels and stride of each feature map, by which ppdet builds the neck."""
        return [
            _shape_spec.ShapeSpec(channels=self.maps.channels[index], stride=self.maps.strides[index])
            for index in self.return_idx
        ]


def _sections(
    operator: str | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
    own: Mapping[str, Any] | None,
    rules: Mapping[str, Any] | None,
) -> list[OperatorSection]:
    """The operators in the order in which they are put in."""
    if operator is not None and not isinstance(operator, str):
        if own or rules:
            raise UserError(
                "PPEConv.operator_args and PPEConv.rules go with the name of an operator; in a mapping, or a list of "
                "them, each has its own: operator: {name: SPConv, ratio: 0.5, rules: {...}}"
            )
        listed: Sequence[Any] = [operator] if isinstance(operator, Mapping) else operator
    elif operator:
        listed = [{**(own or {}), "name": operator, "rules": rules}]
    elif own or rules:
        raise UserError("PPEConv has operator_args or rules and no operator; name one in PPEConv.operator")
    else:
        listed = []
    return [check(OperatorSection, section, "PPEConv.operator") for section in listed]


def _indices(wanted: Sequence[int], count: int) -> list[int]:
    indices = list(wanted) if isinstance(wanted, (list, tuple)) else []
    if not indices or sorted(set(indices)) != indices or not set(indices) <= set(range(count)):
        raise UserError(
            f"PPEConv.return_idx should be a list of numbers from 0 to {count - 1}, ascending, each once; got {wanted}"
        )
    return indices


def _freeze_norms(model: nn.Layer) -> None:
    for layer in model.sublayers():
        if isinstance(layer, NORMS):
            layer._use_global_stats = True
            for parameter in layer.parameters(include_sublayers=False):
                parameter.stop_gradient = True


if "PPEConv" not in _workspace.global_config:
    _workspace.register(_workspace.serializable(PPEConv))
