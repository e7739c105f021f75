"""Parameters and multiply-adds of the parts an operator is made of, in the convention of `ppeconv.counting`."""

from __future__ import annotations

from typing import NamedTuple

from ppeconv.geometry import ConvGeometry
from ppeconv.operators.parts import Between


class Cost(NamedTuple):
    """Trainable parameters, and MACs for one image."""

    params: int = 0
    macs: int = 0

    @classmethod
    def conv(
        cls,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        pixels: tuple[int, int],
        groups: int = 1,
        bias: bool = False,
    ) -> Cost:
        """A convolution that writes `pixels` (rows, columns) of `outputs` channels."""
        weights = inputs // groups * outputs * kernel[0] * kernel[1]
        return cls(weights + bias * outputs, weights * pixels[0] * pixels[1])

    @classmethod
    def norm(cls, channels: int) -> Cost:
        """A batch norm."""
        return cls(2 * channels)

    @classmethod
    def between(cls, channels: int, kind: Between) -> Cost:
        """What `parts.with_norm_act` puts behind a convolution."""
        return cls() if kind == "none" else cls.norm(channels)

    @classmethod
    def of(cls, geometry: ConvGeometry, height: int, width: int) -> Cost:
        """The plain convolution of that geometry."""
        return cls.conv(
            geometry.in_channels,
            geometry.out_channels,
            geometry.kernel_size,
            geometry.output_size(height, width),
            geometry.groups,
            geometry.bias,
        )

    def __add__(self, other: Cost) -> Cost:  # type: ignore[override]  # a sum, and no longer tuple
        return Cost(self.params + other.params, self.macs + other.macs)

    def __radd__(self, other: int) -> Cost:
        """So that `sum` can begin at 0."""
        return self

    def __rmul__(self, times: int) -> Cost:  # type: ignore[override]  # as often, and no longer tuple
        return Cost(times * self.params, times * self.macs)
