"""Convolutions whose channel counts leave vector lanes of the CPU empty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import paddle
from paddle import nn

from ppeconv import observe

LANES = 8
"""float32 values in a vector of AVX2; oneDNN's blocked layouts hold 8 or 16 channels, padded with zeros."""


def uneven_convolutions(model: nn.Layer, image_shape: Sequence[int], class_num: int) -> dict[str, str]:
    """The convolutions that read or give, in each group, a number of channels that LANES does not divide.

    Left out are the channels of the image and of the classes, depthwise convolutions, whose vectors run across groups,
    and convolutions that give maps of 1x1, as in gates, which take no time.

    Args:
        model: any network; it is run once, in eval mode.
        image_shape: [C, H, W].
        class_num: channels that a classifying convolution gives.

    Returns:
        Path of the layer -> its channels, as "6 -> 10" or "6 -> 10 (x 4 groups)".
    """
    paths = {id(layer): path for path, layer in model.named_sublayers(include_self=True)}
    running: list[nn.Layer] = []
    found: dict[str, str] = {}

    def look(x: paddle.Tensor, weight: paddle.Tensor, result: paddle.Tensor) -> None:
        (outputs, inputs), groups = weight.shape[:2], x.shape[1] // weight.shape[1]
        if (groups > 1 and inputs == 1) or max(result.shape[2:]) == 1:
            return
        uneven_input = inputs % LANES and x.shape[1] > image_shape[0]
        uneven_output = outputs // groups % LANES and outputs != class_num
        if uneven_input or uneven_output:
            channels = f"{inputs} -> {outputs // groups}" + (f" (x {groups} groups)" if groups > 1 else "")
            found[paths[id(running[-1])]] = channels

    def wrap(name: str, operation: Callable) -> Callable:
        def convolve(*args: Any, **kwargs: Any) -> Any:
            result = operation(*args, **kwargs)
            look(args[0], args[1], result)
            return result

        return convolve if name == "conv2d" else operation

    with (
        paddle.no_grad(),
        observe.stock(model),
        observe.layers(model, running.append, lambda layer, output: running.pop()),
        observe.operations(wrap, []),
    ):
        model(paddle.zeros([1, *image_shape]))
    return found


def warning(name: str, uneven: dict[str, str]) -> str:
    """A sentence about them that names one layer of each number of channels."""
    layers: dict[str, list[str]] = {}
    for path, channels in uneven.items():
        layers.setdefault(channels, []).append(path)
    places = [
        f"{channels} in {first}" + (f" and {len(others)} more" if others else "")
        for channels, (first, *others) in layers.items()
    ]
    return (
        f"{name}: {LANES} does not divide the channels of {len(uneven)} convolutions, so that oneDNN's kernels leave "
        f"vector lanes empty: {'; '.join(places)}"
    )
