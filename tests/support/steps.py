"""The functions of a convolution's geometry, called with addresses, against float64."""

from __future__ import annotations

import numpy as np
import paddle
from paddle.nn import functional as F

from tests.support.precision import LARGEST_ERROR, normal, relative_error


def check_steps(steps, geometry):
    """Result and gradients are float64's up to float32's rounding."""
    shapes = geometry.image, geometry.weight, geometry.weight[:1], geometry.result
    image, weight, bias, result = (normal(*it) for it in shapes)
    tensors = [paddle.to_tensor(it.astype("float64")) for it in (image, weight, bias)]
    for tensor in tensors:
        tensor.stop_gradient = False
    operands = tensors if geometry.biased else [*tensors[:2], None]
    expected = F.conv2d(*operands, geometry.stride, list(geometry.padding), geometry.dilation, geometry.groups)
    (expected * paddle.to_tensor(result.astype("float64"))).sum().backward()

    given_arrays = [rows_of(image), weight, bias, rows_of(result)]
    found = [np.full_like(it, np.nan) for it in given_arrays]
    image, weight, bias, gradient = (it.ctypes.data for it in given_arrays)
    to_image, to_weight, to_bias, to_result = (it.ctypes.data for it in found)
    biased = geometry.biased
    steps.forward(image, weight, *[bias] * biased, to_result)
    steps.image_gradient(gradient, weight, to_image)
    steps.weight_gradient(image, gradient, to_weight, *[to_bias] * biased)
    to_images, to_weights, to_biases = (it.grad for it in tensors)
    assert relative_error(found[0], rows_of(to_images.numpy())) <= LARGEST_ERROR
    assert relative_error(found[1], to_weights.numpy()) <= LARGEST_ERROR
    assert relative_error(found[3], rows_of(expected.numpy())) <= LARGEST_ERROR
    if biased:
        assert relative_error(found[2], to_biases.numpy()) <= LARGEST_ERROR


def rows_of(array):
    """[N, H, W, C] of [N, C, H, W]."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))
