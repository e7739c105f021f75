"""GDC: global depthwise convolution, a pooling with learned weights.

Paper: MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices, arXiv 1804.07573.
"""

from __future__ import annotations

from typing import Any

from paddle import Tensor, nn

from ppeconv.domains import MapSize
from ppeconv.errors import UserError
from ppeconv.operators.cost import Cost
from ppeconv.registry import HEADS, own_arguments


@HEADS.register
class GDC(nn.Layer):
    """Global depthwise convolution: [N, C, H, W] -> [N, C, 1, 1], each channel with an H x W kernel of its own.

    Own arguments:
        size: height and width of the feature map; measured where the head is put into a network.
        batch_norm: a batch norm behind the convolution, as in MobileFaceNet; nothing else follows.

    Parameters: C H W (+ 2 C with a batch norm); MACs: C H W. With all weights 1 / (H W) it is global average pooling.
    The network's input then has one size.
    """

    def __init__(self, channels: int, *, size: MapSize | None = None, batch_norm: bool = True):
        super().__init__()
        if size is None:
            raise UserError(
                "GDC has a kernel as large as the feature map; give its size, such as size=[7, 7], or put it into a "
                "network, where it is measured"
            )
        self.conv = nn.Conv2D(channels, channels, size, groups=channels, bias_attr=False)
        self.norm = nn.BatchNorm2D(channels) if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))

    @classmethod
    def formula(cls, channels: int, height: int, width: int, **own: Any) -> Cost:
        """Closed form of (trainable parameters, MACs for one map of height x width pixels)."""
        conv = Cost.conv(channels, channels, (height, width), (1, 1), channels)
        return conv + Cost.norm(channels) if (own_arguments(cls) | own)["batch_norm"] else conv
