"""A backbone as a source of feature maps, for detection and segmentation heads."""

from __future__ import annotations

from math import log2

import paddle
from paddle import Tensor, nn

from ppeconv import observe
from ppeconv.backbones.protocol import offers
from ppeconv.errors import UserError
from ppeconv.layers.handover import identity_like
from ppeconv.layers.parameters import float_type
from ppeconv.operators.octaves import merge_octaves
from ppeconv.surgery.images import usual_shape


class FeatureMaps(nn.Layer):
    """[N, C, H, W] -> the outputs of a backbone's stages, finest first; the classifier is taken off.

    Attributes:
        channels: of each map.
        strides: image pixels per pixel of each map, to the nearest power of 2 where a network does not pad.

    Raises:
        UserError: the network has no stages.
    """

    def __init__(self, model: nn.Layer):
        super().__init__()
        offered = offers(model)
        if offered.stages is None or offered.head is None:
            raise UserError(
                f"{type(model).__name__} has no feature maps to give: it has no method stages(x), or no attribute head "
                "that names its classifier; all backbones of ppeconv but the LeNets have both"
            )
        setattr(model, offered.head, identity_like(model))
        self.body, self.training = model, model.training
        self.channels, self.strides = self._measured()

    def forward(self, x: Tensor) -> list[Tensor]:
        return [merge_octaves(stage) for stage in self.body.stages(x)]

    def _measured(self) -> tuple[list[int], list[int]]:
        """Channels and strides, from one image; a multiple of 32 pixels is small enough where the layers pad."""
        channels, usual, _ = usual_shape(self.body)
        side = usual if usual % 16 else 64
        with observe.evaluating(self), paddle.no_grad():
            maps = self(paddle.zeros([1, channels, side, side], float_type(self)))
        return [value.shape[1] for value in maps], [2 ** round(log2(side / value.shape[2])) for value in maps]
