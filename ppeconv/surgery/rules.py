"""Where a network is changed: `Rules` for convolutions, `Places` for recalibration blocks, `Blocks` for branches."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Annotated, Literal

from ppeconv.domains import SOME, Count, KernelSide, Stride
from ppeconv.geometry import ConvGeometry
from ppeconv.schema import Section


class Rules(Section):
    """Which convolutions are replaced. The default takes every dense one with a kernel above 1x1 but the first."""

    min_kernel: KernelSide = 2
    """Smallest kernel side that is replaced."""
    kernel_size: Annotated[list[KernelSide], SOME] | None = None
    """Kernel sides that are replaced, instead of all from min_kernel on."""
    stride: Annotated[list[Stride], SOME] | None = None
    """Strides that are replaced; all when not given."""
    groups: Literal["dense", "grouped", "depthwise", "any"] = "dense"
    min_channels: Count = 1
    """Fewest input and output channels that are replaced."""
    include: list[str] = ["*"]
    """Shell patterns of layer paths; a layer must match one."""
    exclude: list[str] = []
    """Shell patterns of layer paths that stay as they are."""
    skip_first: bool = True
    """Keep the network's first convolution, which reads the image."""
    pairs: bool = False
    """Replace a depthwise convolution and the 1x1 after it, taken together, instead of single convolutions."""
    flow: bool = False
    """OctaveConv alone: both resolutions flow through the residual blocks; the other rules have no say then."""

    def reason_to_keep(self, path: str, geometry: ConvGeometry, first: bool) -> str:
        """Why these rules leave a convolution alone; empty where they replace it."""
        kernel, channels = geometry.kernel_size, min(geometry.in_channels, geometry.out_channels)
        if not matches(path, self.include):
            return "not named by rules.include"
        if matches(path, self.exclude):
            return "named by rules.exclude"
        if first and self.skip_first:
            return "the first convolution is kept (rules.skip_first)"
        if self.kernel_size is not None and not set(kernel) <= set(self.kernel_size):
            return f"kernel {kernel[0]}x{kernel[1]} is not in rules.kernel_size {self.kernel_size}"
        if self.kernel_size is None and max(kernel) < self.min_kernel:
            return f"kernel {kernel[0]}x{kernel[1]} is below rules.min_kernel {self.min_kernel}"
        if self.stride is not None and not set(geometry.stride) <= set(self.stride):
            return f"stride {geometry.stride} is not in rules.stride {self.stride}"
        kind = "depthwise" if geometry.depthwise else "grouped" if geometry.groups > 1 else "dense"
        if self.groups not in ("any", kind):
            return f"{kind}, and rules.groups is {self.groups}"
        if channels < self.min_channels:
            return f"{channels} channels are fewer than rules.min_channels {self.min_channels}"
        return ""


class _Paths(Section):
    include: list[str] = ["*"]
    """Shell patterns of layer paths, of which a path must match one."""
    exclude: list[str] = []
    """Shell patterns of layer paths that are left alone."""

    def names(self, path: str) -> bool:
        """Whether these rules are for a path."""
        return matches(path, self.include) and not matches(path, self.exclude)


class Places(_Paths):
    """Where recalibration blocks go. The default takes every place that the network declares."""

    after: list[str] | None = None
    """Shell patterns of layer paths; blocks go behind these layers, instead of where the network declares it. The
    outermost layer that matches counts."""


class Blocks(_Paths):
    """Which residual blocks are changed. The default takes every one that can be."""


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Whether one of some shell patterns names a path."""
    return any(fnmatch.fnmatch(path, pattern) for pattern in patterns)
