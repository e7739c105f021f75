"""The shape of one 2-D convolution, in one normal form for every way Paddle lets it be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paddle import nn

from ppeconv.errors import Unsupported, UserError


@dataclass(frozen=True)
class ConvGeometry:
    """What `nn.Conv2D` was asked for; pairs are (height, width).

    `padding` is (top, bottom, left, right), or "SAME" where Paddle derives it from the input size.
    """

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] | str = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    bias: bool = True
    padding_mode: str = "zeros"
    data_format: str = "NCHW"

    @classmethod
    def of(
        cls,
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
    ) -> ConvGeometry:
        """The geometry of `nn.Conv2D(...)` called with these arguments."""
        kernel, stride, dilation = pair(kernel_size), pair(stride), pair(dilation)
        if isinstance(padding, str) and padding.upper() == "SAME":
            dilation = (1, 1)  # Paddle drops the dilation under SAME
        return cls(
            in_channels,
            out_channels,
            kernel,
            stride,
            _sides(padding, kernel, stride),
            dilation,
            groups,
            bias_attr is not False,
            padding_mode,
            data_format,
        )

    @classmethod
    def of_layer(cls, conv: nn.Conv2D) -> ConvGeometry:
        """The geometry of an existing `nn.Conv2D`."""
        return cls.of(
            conv._in_channels,
            conv._out_channels,
            conv._kernel_size,
            conv._stride,
            conv._padding,
            conv._dilation,
            conv._groups,
            None if conv.bias is not None else False,
            conv._padding_mode,
            conv._data_format,
        )

    @property
    def depthwise(self) -> bool:
        """One filter, or several, for each input channel on its own."""
        return self.groups == self.in_channels and self.groups > 1

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """The padding as (top, bottom, left, right), where it does not depend on the image."""
        if isinstance(self.padding, str):
            raise Unsupported(f"the padding of this convolution depends on the image: {self.padding!r}")
        return self.padding

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Output height and width for an input of `height` x `width` pixels."""
        if isinstance(self.padding, str):
            return -(-height // self.stride[0]), -(-width // self.stride[1])
        top, bottom, left, right = self.padding
        return (
            _steps(height + top + bottom, self.kernel_size[0], self.stride[0], self.dilation[0]),
            _steps(width + left + right, self.kernel_size[1], self.stride[1], self.dilation[1]),
        )

    def conv_arguments(self) -> dict[str, Any]:
        """The keyword arguments of `nn.Conv2D` that give this geometry."""
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "dilation": self.dilation,
            "groups": self.groups,
            "padding": self.padding if isinstance(self.padding, str) else list(self.padding),
            "bias_attr": None if self.bias else False,
            "padding_mode": self.padding_mode,
            "data_format": self.data_format,
        }

    def __str__(self) -> str:
        kernel, stride = ("x".join(map(str, sides)) for sides in (self.kernel_size, self.stride))
        parts = [f"{kernel} {self.in_channels}->{self.out_channels}"]
        parts += [f"stride {stride}"] if self.stride != (1, 1) else []
        parts += [f"dilation {'x'.join(map(str, self.dilation))}"] if self.dilation != (1, 1) else []
        parts += [f"groups {self.groups}"] if self.groups > 1 else []
        return ", ".join(parts)


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """`3` and `[3, 5]` as (height, width)."""
    if isinstance(value, int):
        return value, value
    if len(value) != 2:
        raise UserError(f"a kernel size, stride or dilation is one number or two; got {list(value)}")
    height, width = value
    return int(height), int(width)


def _steps(size: int, kernel: int, stride: int, dilation: int) -> int:
    return (size - dilation * (kernel - 1) - 1) // stride + 1


def _sides(padding: Any, kernel: tuple[int, int], stride: tuple[int, int]) -> tuple[int, int, int, int] | str:
    if isinstance(padding, str):
        if padding.upper() == "VALID":
            return 0, 0, 0, 0
        if padding.upper() != "SAME":
            raise UserError(f"padding is a number, a list, 'SAME' or 'VALID'; got {padding!r}")
        if stride != (1, 1):
            return "SAME"
        (top, bottom), (left, right) = (((k - 1) // 2, k // 2) for k in kernel)
        return top, bottom, left, right
    if isinstance(padding, int):
        return (padding,) * 4
    values: list[Any] = [tuple(side) if isinstance(side, (list, tuple)) else int(side) for side in padding]
    if len(values) == 4 and isinstance(values[0], tuple):
        values = [side for axis in values[2:] for side in axis]
    if len(values) == 2 and not isinstance(values[0], tuple):
        return values[0], values[0], values[1], values[1]
    if len(values) == 4:
        top, bottom, left, right = values
        return top, bottom, left, right
    raise UserError(f"padding is one, two or four numbers, or a pair for each of the four axes; got {padding}")
