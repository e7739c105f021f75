"""How far results and gradients in float32 are from float64's.

Run as a program it goes through a grid of layers under the instruction set that ONEDNN_MAX_CPU_ISA names, prints what
it finds beside stock Paddle's errors, and fails where a result is further off than LARGEST_ERROR.
"""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import paddle
from paddle.nn import functional as F

from ppeconv import backend
from ppeconv.cpu.library import onednn

LARGEST_ERROR = 3e-6
"""Norm of the difference from float64's result over that result's norm: what every result keeps on every CPU."""
_WIDE, _USUAL_ERROR = 8, 1e-6
_LEVELS = {"AVX2": 0x7, "AVX512_CORE": 0x27, "AVX512_CORE_BF16": 0xE7, "AVX512_CORE_AMX": 0xFEF}


def normal(*shape):
    """Numbers that float32 holds."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


def tensors(arrays, dtype):
    made = [None if array is None else paddle.to_tensor(array.astype(dtype)) for array in arrays]
    for tensor in made:
        if tensor is not None:
            tensor.stop_gradient = False
    return made


def results(function, arrays, dtype="float32"):
    """The function's result and the gradients of a fixed weighting of it."""
    operands = tensors(arrays, dtype)
    output = function(*operands)
    weighting = np.random.default_rng(7).standard_normal(output.shape).astype("float32").astype(dtype)
    (output * paddle.to_tensor(weighting)).sum().backward()
    return [output.astype(dtype).numpy(), *(it.grad.numpy() for it in operands if it is not None)]


def fast_results(function, arrays):
    """The same by the fast layers."""
    with backend.enabled():
        return results(function, arrays)


def relative_error(found, exact):
    """Not a number where the found one is none; against nothing but zeros, the difference itself."""
    assert found.shape == exact.shape
    return np.linalg.norm(found - exact) / (np.linalg.norm(exact) or 1)


def assert_accurate(function, *arrays):
    """The fast layers' result and gradients are float64's up to LARGEST_ERROR."""
    exact = results(function, arrays, "float64")
    for ours, truth in zip(fast_results(function, arrays), exact, strict=True):
        assert relative_error(ours, truth) <= LARGEST_ERROR


def offered_levels():
    """The instruction sets, of those whose kernels differ, that oneDNN may use in this process."""
    effective = onednn.library().dnnl_get_effective_cpu_isa
    effective.restype = ctypes.c_int
    return [name for name, bits in _LEVELS.items() if effective() & bits == bits]


def _convolutions():
    """(function, operands, channels of a group) of every way in which a convolution is computed, extents of 1 too."""
    draw = np.random.default_rng(3)
    drawn = []
    for _ in range(60):
        groups, (inputs, outputs) = draw.choice([1, 1, 2, 3]), draw.choice([1, 2, 5, 8, 16], 2)
        kernel, stride = draw.choice([1, 1, 2, 3, 3, 5], 2), draw.choice([1, 1, 2], 2)
        size = draw.choice([1, 2, 7, 8, 11], 2) + kernel - 1
        image = (draw.integers(1, 5), groups * inputs, *size)
        drawn.append((image, groups * outputs, inputs, kernel, stride, draw.integers(0, 2, 2), groups))
    large = [
        ((8, 64, 9, 11), 64, 64, (3, 3), (1, 1), (1, 1), 1),
        ((8, 128, 8, 8), 96, 64, (3, 3), (1, 1), (1, 1), 2),
        ((32, 64, 2, 2), 64, 64, (3, 3), (1, 1), (1, 1), 1),
        ((4, 256, 5, 5), 64, 256, (5, 5), (2, 2), (2, 2), 1),
        ((16, 3, 64, 64), 8, 3, (3, 3), (1, 1), (1, 1), 1),
        ((8, 32, 32, 32), 32, 1, (3, 3), (1, 1), (1, 1), 32),
        ((32, 1, 32, 32), 1, 1, (3, 3), (1, 1), (1, 1), 1),
        ((32, 1, 32, 32), 1, 1, (1, 1), (1, 1), (0, 0), 1),
        ((16, 48, 16, 16), 24, 16, (1, 1), (1, 1), (0, 0), 3),
        ((1, 64, 1, 1), 32, 64, (1, 1), (1, 1), (0, 0), 1),
        ((64, 16, 13, 11), 1, 16, (1, 1), (1, 1), (0, 0), 1),
    ]
    for image, outputs, per_group, kernel, stride, padding, groups in drawn + large:
        image, kernel = [int(it) for it in image], [int(it) for it in kernel]
        options = {"stride": list(map(int, stride)), "padding": list(map(int, padding)), "groups": int(groups)}
        operands = normal(*image), normal(int(outputs), int(per_group), *kernel), normal(int(outputs))

        def convolution(x, weight, bias, options=options):
            return F.conv2d(x, weight, bias, **options)

        yield convolution, operands, min(per_group, outputs // groups)


def _others():
    """(function, operands) of what is no convolution."""
    scale, shift = normal(24), normal(24)[::-1].copy()

    def normalised(x, scale, shift):
        statistics = paddle.zeros([24], x.dtype), paddle.ones([24], x.dtype)
        return F.relu(F.batch_norm(x, *statistics, scale, shift, training=True))

    for shape in (4, 24, 6, 5), (1, 24, 8, 8), (9, 24, 31, 29):
        yield normalised, (normal(*shape), scale, shift)
        yield lambda x: F.max_pool2d(x, 3, 2, 1), (normal(*shape),)
        yield lambda x: F.adaptive_avg_pool2d(x, 1), (normal(*shape),)
        yield lambda x, gate: F.relu(x) * gate, (normal(*shape), normal(shape[0], 24, 1, 1))


def record():
    """Rows (largest error, the fast layers' norm-wise error, stock Paddle's, channels of a group or 0) of the grid."""
    rows = []
    for function, operands, channels in [*_convolutions(), *((*it, 0) for it in _others())]:
        exact = results(function, operands, "float64")
        pairs = zip(fast_results(function, operands), results(function, operands), exact, strict=True)
        rows += [(relative_error(fast, truth), relative_error(stock, truth), channels) for fast, stock, truth in pairs]
    return np.asarray(rows)


def main():
    """Print the record; returns the exit code."""
    fast, stock, channels = record().T
    wide = fast[channels >= _WIDE]
    ratio = fast / np.maximum(stock, np.finfo(np.float32).eps / 10)
    level = offered_levels()[-1] if offered_levels() else "less than AVX2"
    print(f"{level}: {len(fast)} results, largest error {fast.max():.1e}, stock Paddle's {stock.max():.1e}")
    beyond = np.mean(~(wide <= _USUAL_ERROR))
    print(f"with {_WIDE} channels a group or more: largest error {wide.max():.1e}, {beyond:.1%} over {_USUAL_ERROR:g}")
    print(f"over stock Paddle's: {np.median(ratio):.2f} in the median, more than twice for {np.mean(ratio > 2):.1%}")
    return 0 if (fast <= LARGEST_ERROR).all() else 1


if __name__ == "__main__":
    sys.exit(main())
