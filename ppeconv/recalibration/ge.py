"""GE: a weight for each channel and place, gathered from the neighbourhood of that place."""

from __future__ import annotations

from math import log2
from typing import Literal

import paddle.nn.functional as F
from paddle import Tensor, nn

from ppeconv.domains import MapSize
from ppeconv.errors import UserError
from ppeconv.layers import functional
from ppeconv.operators.cost import Cost
from ppeconv.recalibration.base import Recalibration
from ppeconv.registry import RECALIBRATIONS
from ppeconv.schema.declaration import OwnArguments, Paper

Form = Literal["theta-", "theta", "theta+"]
Extent = Literal[2, 4, 8, "global"]


@RECALIBRATIONS.register
class GE(Recalibration):
    """Gather-excite: Y = X sigmoid(upsample(gather(X))), upsampled to H x W by the nearest neighbour.

    The averages of "theta-" leave the pixels beyond the border out, as in the common port.

    Parameters: theta-: 0; theta: log2(e) 11 C, global C H W + 2 C; theta+: with h = C // 16 also 2 C h + h + C.
    MACs: of these the weights times the pixels they write.
    """

    papers = (
        Paper(
            "Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks", "NeurIPS 2018", "1810.12348"
        ),
    )

    class Arguments(OwnArguments):
        form: Form = "theta"
        """how it is gathered. "theta-" averages over (2e - 1) x (2e - 1) pixels with stride e, without parameters;
        "theta" has log2(e) depthwise 3x3 convolutions of stride 2, each with a batch norm, and ReLUs between them;
        "theta+" puts 1x1 to C / 16, ReLU and 1x1 back behind these."""
        extent: Extent = "global"
        """e, or "global": the mean of the map, or one depthwise convolution as large as the map."""
        size: MapSize | None = None
        """height and width of the feature map; for "theta" and "theta+" with a global extent."""

    def build(self, channels: int, own: Arguments) -> None:
        form, extent = own.form, own.extent
        if form == "theta-":
            self.gather = (
                nn.AdaptiveAvgPool2D(1)
                if extent == "global"
                else nn.AvgPool2D(2 * extent - 1, extent, extent - 1, exclusive=True)
            )
            return
        gather = _whole(channels, own.size) if extent == "global" else _steps(channels, extent)
        narrow = max(1, channels // 16)
        mix = [nn.Conv2D(channels, narrow, 1), nn.ReLU(), nn.Conv2D(narrow, channels, 1)] if form == "theta+" else []
        self.gather = nn.Sequential(*gather, *mix)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.sigmoid(self.gather(x))
        return x * (gate if gate.shape[2:] == [1, 1] else functional.upsample(gate, *x.shape[2:]))

    @classmethod
    def cost(cls, channels: int, height: int, width: int, own: Arguments) -> Cost:
        form, extent = own.form, own.extent
        if form == "theta-":
            return Cost()
        if extent == "global":
            pixels = 1, 1
            cost = Cost.conv(channels, channels, (height, width), pixels, channels) + Cost.norm(channels)
        else:
            pixels, cost = (height, width), Cost()
            for _ in range(int(log2(extent))):
                pixels = (pixels[0] + 1) // 2, (pixels[1] + 1) // 2
                cost += Cost.conv(channels, channels, (3, 3), pixels, channels) + Cost.norm(channels)
        narrow = max(1, channels // 16)
        mix = Cost.conv(channels, narrow, (1, 1), pixels, bias=True) + Cost.conv(
            narrow, channels, (1, 1), pixels, bias=True
        )
        return cost + mix if form == "theta+" else cost


def _whole(channels: int, size: list[int] | None) -> list[nn.Layer]:
    if size is None:
        raise UserError(
            "GE with a global extent and parameters has a kernel as large as the feature map; give its size, such as "
            "size=[7, 7], or put it into a network with an input_size"
        )
    return [nn.Conv2D(channels, channels, size, groups=channels, bias_attr=False), nn.BatchNorm2D(channels)]


def _steps(channels: int, extent: int) -> list[nn.Layer]:
    layers: list[nn.Layer] = []
    for step in range(int(log2(extent))):
        layers += [nn.ReLU()] if step else []
        layers += [nn.Conv2D(channels, channels, 3, 2, 1, groups=channels, bias_attr=False), nn.BatchNorm2D(channels)]
    return layers
