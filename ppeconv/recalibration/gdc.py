"""GDC: global depthwise convolution, a pooling with learned weights."""

from __future__ import annotations

from paddle import Tensor, nn

from ppeconv.domains import MapSize
from ppeconv.errors import UserError
from ppeconv.operators.cost import Cost
from ppeconv.recalibration.base import Block
from ppeconv.registry import HEADS
from ppeconv.schema.declaration import OwnArguments, Paper


@HEADS.register
class GDC(Block):
    """Global depthwise convolution: [N, C, H, W] -> [N, C, 1, 1], each channel with an H x W kernel of its own.

    Parameters: C H W (+ 2 C with a batch norm); MACs: C H W. With all weights 1 / (H W) it is global average pooling.
    The network's input then has one size.
    """

    papers = (
        Paper(
            "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices",
            "CCBR 2018",
            "1804.07573",
        ),
    )

    class Arguments(OwnArguments):
        size: MapSize | None = None
        """height and width of the feature map; measured where the head is put into a network."""
        batch_norm: bool = True
        """a batch norm behind the convolution, as in MobileFaceNet; nothing else follows."""

    def build(self, channels: int, own: Arguments) -> None:
        if own.size is None:
            raise UserError(
                "GDC has a kernel as large as the feature map; give its size, such as size=[7, 7], or put it into a "
                "network, where it is measured"
            )
        self.conv = nn.Conv2D(channels, channels, own.size, groups=channels, bias_attr=False)
        self.norm = nn.BatchNorm2D(channels) if own.batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))

    @classmethod
    def cost(cls, channels: int, height: int, width: int, own: Arguments) -> Cost:
        conv = Cost.conv(channels, channels, (height, width), (1, 1), channels)
        return conv + Cost.norm(channels) if own.batch_norm else conv
