"""The plain convolution, the baseline of every comparison."""

from __future__ import annotations

from typing import Any, ClassVar

from paddle import Tensor, nn

from ppeconv.geometry import ConvGeometry
from ppeconv.operators.base import ConvOperator, copy_weights
from ppeconv.operators.cost import Cost
from ppeconv.registry import OPERATORS


@OPERATORS.register
class Conv2D(ConvOperator):
    """Plain convolution, the baseline.

    Parameters: C_in/groups * C_out * kh * kw (+ C_out with bias); MACs: the weights times H' * W'.
    """

    default_rules: ClassVar[dict[str, Any]] = {"min_kernel": 1, "groups": "any", "skip_first": False}

    @classmethod
    def check(cls, geometry: ConvGeometry, own: Any) -> None:
        """Every convolution qualifies."""

    def build(self, geometry: ConvGeometry, own: Any) -> None:
        self.conv = nn.Conv2D(**geometry.conv_arguments())

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)

    def inherit(self, conv: nn.Conv2D) -> bool:
        copy_weights(conv, self.conv)
        return True

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Any) -> Cost:
        return Cost.of(geometry, height, width)
