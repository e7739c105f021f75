"""What every conv-like operator has in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from paddle import nn

from ppeconv.errors import Unsupported
from ppeconv.geometry import ConvGeometry


class ConvOperator(nn.Layer):
    """A drop-in for `nn.Conv2D`: [N, C_in, H, W] -> [N, C_out, H', W'].

    The named arguments are those of `nn.Conv2D`, the rest the operator's own. A subclass defines `check`,
    `build` (own arguments keyword-only: they are what a config can set), `forward` and `formula`.

    Raises:
        Unsupported: the operator has no definition for this convolution.
    """

    default_rules: ClassVar[dict[str, Any]] = {}
    """Which convolutions `replace_conv` gives to this operator when the user names no rules."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[Any] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias_attr: Any = None,
        padding_mode: str = "zeros",
        data_format: str = "NCHW",
        **own: Any,
    ):
        super().__init__()
        self.geometry = ConvGeometry.of(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias_attr,
            padding_mode,
            data_format,
        )
        self.check(self.geometry, **own)
        self.build(self.geometry, **own)

    @classmethod
    def of_geometry(cls, geometry: ConvGeometry, **own: Any) -> ConvOperator:
        """The operator in place of a convolution of that geometry."""
        return cls(**geometry.conv_arguments(), **own)

    @classmethod
    def check(cls, geometry: ConvGeometry, **own: Any) -> None:
        """Raise `Unsupported` with the reason when the operator cannot stand in for such a convolution."""
        if geometry.padding_mode != "zeros" or geometry.data_format != "NCHW":
            raise Unsupported(
                f"{cls.__name__} pads with zeros and reads NCHW; got padding_mode "
                f"{geometry.padding_mode!r} and data_format {geometry.data_format!r}"
            )

    def build(self, geometry: ConvGeometry) -> None:
        """Make the sub-layers."""
        raise TypeError(f"{type(self).__name__} defines no build()")

    @classmethod
    def formula(cls, geometry: ConvGeometry, height: int, width: int, **own: Any) -> tuple[int, int]:
        """Closed form of (trainable parameters, MACs for one input of height x width pixels)."""
        raise TypeError(f"{cls.__name__} defines no formula()")

    def extra_repr(self) -> str:
        return str(self.geometry)
