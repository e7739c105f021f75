"""What several networks are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paddle import Tensor, nn


class ConvNormAct(nn.Sequential):
    """A convolution without bias, a batch norm and an activation; padded so that stride 1 keeps the size.

    Args:
        inputs, outputs, kernel, stride, groups: of the convolution.
        padding: half the kernel when not given.
        act: makes the activation; None leaves it out.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | Sequence[int],
        stride: int = 1,
        padding: int | Sequence[int] | None = None,
        groups: int = 1,
        act: Callable[[], nn.Layer] | None = nn.ReLU,
    ):
        if padding is None:
            padding = kernel // 2 if isinstance(kernel, int) else [side // 2 for side in kernel]
        super().__init__(
            nn.Conv2D(inputs, outputs, kernel, stride, padding, groups=groups, bias_attr=False),
            nn.BatchNorm2D(outputs),
            *([act()] if act else []),
        )


class Trunk(nn.Layer):
    """A network whose `features` are stages one after the other.

    Args:
        stages: the layers of each; what the last one of a stage gives is a feature map.
    """

    def __init__(self, stages: Sequence[Sequence[nn.Layer]]):
        super().__init__()
        self.features = nn.Sequential(*[nn.Sequential(*layers) for layers in stages])

    def stages(self, x: Tensor) -> list[Tensor]:
        """The output of each stage."""
        maps = []
        for stage in self.features:
            x = stage(x)
            maps.append(x)
        return maps


class Staged(Trunk):
    """Stages one after the other, global average pooling, a classifier: [N, C, H, W] -> [N, class_num].

    Args:
        stages: see Trunk.
        classifier: [N, channels] -> [N, class_num].
    """

    image_shape = (3, 224, 224)
    head = "classifier"

    def __init__(self, stages: Sequence[Sequence[nn.Layer]], classifier: nn.Layer):
        super().__init__(stages)
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)).flatten(1))


def linear_classifier(channels: int, class_num: int, dropout: float) -> nn.Sequential:
    """Dropout and a linear layer."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, class_num))
