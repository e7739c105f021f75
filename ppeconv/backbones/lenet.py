"""LeNet and LeNet-3C1L."""

from __future__ import annotations

from paddle import Tensor, nn

from ppeconv.backbones.width import scaled
from ppeconv.domains import Channels, Classes, Multiplier, Pixels
from ppeconv.errors import UserError
from ppeconv.registry import BACKBONES


@BACKBONES.register
class LeNet(nn.Layer):
    """LeNet with two convolutions (3x3 and 5x5) and three linear layers, ReLU after all but the last.

    [N, in_channels, image_size, image_size] -> [N, class_num]. Shapes as in `paddle.vision.models.LeNet`, which has no
    activation between its linear layers.
    """

    image_shape = (1, 28, 28)
    init = "paddle"

    def __init__(
        self, *, class_num: Classes = 10, width: Multiplier = 1.0, in_channels: Channels = 1, image_size: Pixels = 28
    ):
        super().__init__()
        first, second = scaled(6, width), scaled(16, width)
        side = (image_size // 2 - 4) // 2
        _require(side >= 1, "LeNet", image_size, 12)
        self.features = nn.Sequential(
            nn.Conv2D(in_channels, first, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2D(2),
            nn.Conv2D(first, second, 5),
            nn.ReLU(),
            nn.MaxPool2D(2),
        )
        hidden = [scaled(120, width), scaled(84, width)]
        self.fc = nn.Sequential(
            nn.Linear(second * side * side, hidden[0]),
            nn.ReLU(),
            nn.Linear(hidden[0], hidden[1]),
            nn.ReLU(),
            nn.Linear(hidden[1], class_num),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).flatten(1))


@BACKBONES.register
class LeNet3C1L(nn.Layer):
    """Three convolutions without padding, each with bias, batch norm and ReLU, and one linear layer.

    [N, in_channels, image_size, image_size] -> [N, class_num]; 32 channels at width 1.
    Source: the base network of Any-Width Networks, arXiv 2012.03153.
    """

    image_shape = (1, 28, 28)
    init = "pytorch"

    def __init__(
        self, *, class_num: Classes = 10, width: Multiplier = 1.0, in_channels: Channels = 1, image_size: Pixels = 28
    ):
        super().__init__()
        channels = scaled(32, width)
        side = ((image_size - 4) // 2 - 4) // 2
        _require(side >= 1, "LeNet3C1L", image_size, 16)
        self.features = nn.Sequential(
            *_conv_bn_relu(in_channels, channels, 3),
            *_conv_bn_relu(channels, channels, 3),
            nn.MaxPool2D(2),
            *_conv_bn_relu(channels, channels, 5),
            nn.MaxPool2D(2),
        )
        self.fc = nn.Linear(channels * side * side, class_num)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).flatten(1))


def _conv_bn_relu(inputs: int, outputs: int, kernel: int) -> list[nn.Layer]:
    return [nn.Conv2D(inputs, outputs, kernel), nn.BatchNorm2D(outputs), nn.ReLU()]


def _require(fits: bool, name: str, image_size: int, smallest: int) -> None:
    if not fits:
        raise UserError(f"{name} needs images of at least {smallest}x{smallest} pixels; got image_size {image_size}")
