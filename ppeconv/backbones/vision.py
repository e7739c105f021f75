"""Networks of paddle.vision as they are there, so that its weights load, with stages and a choice of the stem.

Papers: DenseNet, arXiv 1608.06993; SqueezeNet, 1602.07360; MobileNetV1, 1704.04861; MobileNetV3, 1905.02244;
Inception V3, 1512.00567.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from paddle import Tensor, nn
from paddle.nn import functional as F
from paddle.vision import models

from ppeconv.domains import Channels, Classes, Multiplier
from ppeconv.registry import BACKBONES

Stem = Literal["imagenet", "cifar"]


class _DenseNet(models.DenseNet):
    head = "out"
    image_shape = (3, 224, 224)
    init = "he_fan_out"

    def __init__(self, layers: int, class_num: int, stem: Stem, in_channels: int):
        super().__init__(layers, num_classes=class_num)
        _fit(self.conv1_func, "_conv", in_channels, stem, kernel=3)
        if stem == "cifar":
            self.pool2d_max = nn.Identity()

    def stages(self, x: Tensor) -> list[Tensor]:
        """The dense blocks' outputs; the last one with norm and ReLU."""
        x = self.pool2d_max(self.conv1_func(x))
        maps: list[Tensor] = []
        for index, block in enumerate(self.dense_block_func_list):
            maps.append(block(self.transition_func_list[index - 1](maps[-1]) if maps else x))
        return [*maps[:-1], self.batch_norm(maps[-1])]


@BACKBONES.register
class DenseNet121(_DenseNet):
    """DenseNet-121, growth 32: [N, in_channels, H, W] -> [N, class_num].

    Args:
        class_num: number of classes.
        stem: "imagenet" is a 7x7 convolution of stride 2 and a max pool; "cifar" one 3x3 convolution.
        in_channels: channels of the image.
    """

    imagenet_weights = "densenet121"

    def __init__(self, *, class_num: Classes = 1000, stem: Stem = "imagenet", in_channels: Channels = 3):
        super().__init__(121, class_num, stem, in_channels)


@BACKBONES.register
class SqueezeNet(models.SqueezeNet):
    """SqueezeNet, of fire modules: [N, in_channels, H, W] -> [N, class_num].

    Args:
        class_num: number of classes.
        version: "1.0" of the paper or "1.1", the authors' cheaper one.
        stem: "imagenet" has a first convolution of stride 2 and three max pools, "cifar" stride 1 and two.
        in_channels: channels of the image.

    As in the authors' definition, the first convolution has no padding and the pools take an incomplete window at the
    border. paddle.vision pads by 1 in version 1.1, leaves such windows out and halves the classifier's input in
    evaluation, so its weights load but were trained in a slightly different network.
    """

    head = "_conv9"
    image_shape = (3, 224, 224)
    init = "xavier_small_head"
    imagenet_weights = "squeezenet1_1"

    def __init__(
        self,
        *,
        class_num: Classes = 1000,
        version: Literal["1.0", "1.1"] = "1.1",
        stem: Stem = "imagenet",
        in_channels: Channels = 3,
    ):
        super().__init__(version, num_classes=class_num)
        self.small = stem == "cifar"
        _fit(self, "_conv", in_channels, stem, kernel=3, padding=0)
        self._pool = nn.MaxPool2D(3, 2, ceil_mode=True)
        self._drop = nn.Dropout(0.5)

    def stages(self, x: Tensor) -> list[Tensor]:
        """What stands before each max pool, and what the last fire module gives."""
        x = F.relu(self._conv(x))
        maps = [x]
        for fires in ((1, 2, 3), (4, 5, 6, 7), (8,)) if self.version == "1.0" else ((1, 2), (3, 4), (5, 6, 7, 8)):
            x = x if self.small and len(maps) == 1 else self._pool(x)
            for fire in fires:
                x = getattr(self, f"_conv{fire}")(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        x = self._conv9(self._drop(self.stages(x)[-1]))
        return self._avg_pool(F.relu(x)).flatten(1)


@BACKBONES.register
class MobileNetV1(models.MobileNetV1):
    """MobileNetV1, of depthwise separable convolutions: [N, in_channels, H, W] -> [N, class_num].

    Args:
        class_num: number of classes.
        width: the paper's alpha; its rho is the image size.
        stem: "imagenet" has stride 2, "cifar" stride 1.
        in_channels: channels of the image.
    """

    head = "fc"
    image_shape = (3, 224, 224)
    init = "truncated"
    imagenet_weights = "mobilenetv1_1.0"

    def __init__(
        self, *, class_num: Classes = 1000, width: Multiplier = 1.0, stem: Stem = "imagenet", in_channels: Channels = 3
    ):
        super().__init__(width, num_classes=class_num)
        _fit(self.conv1, "0", in_channels, stem)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The last outputs at each stride."""
        return _at((0, 2, 4, 10, 12), self.dwsl, self.conv1(x))


class _MobileNetV3(nn.Layer):
    """MobileNetV3.

    Args:
        class_num: number of classes.
        width: channel multiplier.
        stem: "imagenet" has stride 2, "cifar" stride 1.
        in_channels: channels of the image.
    """

    head = "classifier"
    image_shape = (3, 224, 224)
    init = "truncated"
    last_of_stage: ClassVar[tuple[int, ...]]

    def __init__(
        self, *, class_num: Classes = 1000, width: Multiplier = 1.0, stem: Stem = "imagenet", in_channels: Channels = 3
    ):
        super().__init__(width, num_classes=class_num)
        _fit(self.conv, "0", in_channels, stem)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The last outputs at each stride; the last one of all channels."""
        *maps, last = _at(self.last_of_stage, self.blocks, self.conv(x))
        return [*maps, self.lastconv(last)]


@BACKBONES.register
class MobileNetV3Large(_MobileNetV3, models.MobileNetV3Large):
    """MobileNetV3-Large: [N, in_channels, H, W] -> [N, class_num]."""

    imagenet_weights = "mobilenet_v3_large_x1.0"
    last_of_stage = 0, 2, 5, 11, 14


@BACKBONES.register
class MobileNetV3Small(_MobileNetV3, models.MobileNetV3Small):
    """MobileNetV3-Small, with a head of 1024 channels: [N, in_channels, H, W] -> [N, class_num]."""

    imagenet_weights = "mobilenet_v3_small_x1.0"
    last_of_stage = 0, 2, 7, 10


@BACKBONES.register
class InceptionV3(models.InceptionV3):
    """Inception V3 without auxiliary classifier: [N, in_channels, H, W] -> [N, class_num], H and W 299 in the paper.

    Args:
        class_num: number of classes.
        in_channels: channels of the image.

    Sources differ: the means of its 3x3 average pools count the padding, as in torchvision's network and in that which
    Paddle's weights were trained in; the authors' code leaves the padding out. paddle.vision multiplies the
    classifier's input by 0.8 in evaluation; with its weights the logits here are larger.

    Its modules declare no place for a recalibration block; use rules.after with "inception_block_list.*".
    """

    head = "fc"
    image_shape = (3, 299, 299)
    init = "he_truncated"
    imagenet_weights = "inception_v3"

    def __init__(self, *, class_num: Classes = 1000, in_channels: Channels = 3):
        super().__init__(num_classes=class_num)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(2048, class_num)  # paddle.vision's has an initializer of its own
        _fit(self.inception_stem.conv_1a_3x3, "0", in_channels)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The outputs of the modules at strides 8, 16, 32."""
        return _at((2, 7, 10), self.inception_block_list, self.inception_stem(x))


def _at(indices: Sequence[int], layers: Sequence[nn.Layer], x: Tensor) -> list[Tensor]:
    """What the layers of those indices give."""
    maps = []
    for index, layer in enumerate(layers):
        x = layer(x)
        if index in indices:
            maps.append(x)
    return maps


def _fit(
    owner: nn.Layer,
    attribute: str,
    in_channels: int,
    stem: Stem = "imagenet",
    kernel: int | None = None,
    padding: int | None = None,
) -> None:
    """Give the first convolution other input channels and padding, or for "cifar" stride 1 and a small kernel."""
    conv = getattr(owner, attribute)
    small = stem == "cifar"
    padding = conv._padding if padding is None else padding
    if in_channels == conv._in_channels and padding == conv._padding and not small:
        return
    side = kernel if small and kernel else conv._kernel_size[0]
    new = nn.Conv2D(
        in_channels,
        conv._out_channels,
        side,
        1 if small else conv._stride,
        side // 2 if small else padding,
        bias_attr=None if conv.bias is not None else False,
    )
    setattr(owner, attribute, new)
