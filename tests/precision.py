"""How far results and gradients in float32 are from float64's, with the fast CPU layers and with stock Paddle."""

from __future__ import annotations

import numpy as np
import paddle

from ppeconv import backend

EPSILON = np.finfo(np.float32).eps


def tensors(arrays, dtype):
    made = [None if array is None else paddle.to_tensor(array.astype(dtype)) for array in arrays]
    for tensor in made:
        if tensor is not None:
            tensor.stop_gradient = False
    return made


def results(function, arrays, dtype="float32", weigh=np.asarray):
    """The function's result and the gradients of a fixed weighting of it."""
    operands = tensors(arrays, dtype)
    output = function(*operands)
    weighting = weigh(np.random.default_rng(7).standard_normal(output.shape)).astype(dtype)
    (output * paddle.to_tensor(weighting)).sum().backward()
    return [output.numpy(), *(it.grad.numpy() for it in operands if it is not None)]


def assert_as_good_as_paddle(function, *arrays, factor=2, roundings=1):
    """At most `factor` times stock Paddle's error, plus roundings of the sums of absolute values.

    Where a sum of few terms cancels, stock Paddle's own error is luck; one rounding is what it may be. Of many terms
    none is needed.
    """
    exact = results(function, arrays, "float64")
    stock = results(function, arrays)
    absolute = [array if array is None else np.abs(array) for array in arrays]
    sums = results(function, absolute, "float64", weigh=np.abs)
    with backend.enabled():
        fast = results(function, arrays)
    for ours, theirs, truth, total in zip(fast, stock, exact, sums, strict=True):
        assert ours.shape == theirs.shape
        allowed = factor * np.linalg.norm(theirs - truth) + roundings * EPSILON * max(
            np.linalg.norm(total), np.linalg.norm(truth)
        )
        assert np.linalg.norm(ours - truth) <= allowed


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)
