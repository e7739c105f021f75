"""The oneDNN library that the paddlepaddle wheel bundles, called through its C API."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence

from ppeconv.cpu.library import kernels, wheel

BFLOAT16, FLOAT32 = 2, 3
BYTES = {BFLOAT16: 2, FLOAT32: 4}
_SAME_TYPE = 0
ANY_FORMAT = 1
FORWARD_TRAINING, FORWARD_INFERENCE, BACKWARD = 64, 96, 128
CONVOLUTION_DIRECT = 1
POOLING_MAX, POOLING_AVERAGE_ALL, POOLING_AVERAGE_VALID = 0x1FF, 0x2FF, 0x3FF
RELU, TANH, ELU, LINEAR, HARDSIGMOID, LOGISTIC = 0x20, 0x21, 0x22, 0x26, 0x28, 0x29
SWISH, CLIP, MISH, HARDSWISH, RELU_FROM_RESULT = 0x2C, 0x2F, 0x33, 0x34, 0x100
BINARY_ADD, BINARY_MULTIPLY, BINARY_MAX, BINARY_MIN, BINARY_DIV, BINARY_SUB = range(0x1FFF0, 0x1FFF6)
RESAMPLING_NEAREST, SOFTMAX_ACCURATE = 0x2FFF0, 0x30000
GLOBAL_STATISTICS, USE_SCALE, USE_SHIFT, FUSE_RELU = 1, 2, 4, 8

SRC, SRC_1, DST = 1, 2, 17
WEIGHTS, BIAS = 33, 41
MEAN, VARIANCE, SCALE, SHIFT, WORKSPACE = 49, 50, 51, 52, 64
DIFF_SRC, DIFF_DST, DIFF_WEIGHTS, DIFF_BIAS = 129, 145, 161, 169
DIFF_SCALE, DIFF_SHIFT = 255, 256
SCRATCHPAD = 80

_CPU_ENGINE = 1
_QUERY_IMPLEMENTATION, _QUERY_ARGUMENT = 8, 255
_UNSUPPORTED = 3
_POST_OPERATIONS = 32768
# The library's own scratchpads belong to the thread that built a primitive, which then fails in any other.
_USER_SCRATCHPAD = 1


class OneDNNError(RuntimeError):
    """A call of the oneDNN library failed."""


class Unsupported(OneDNNError):
    """oneDNN has no implementation of the requested primitive."""


class _Version(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("major", "minor", "patch")]


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded library; raises OSError where the wheel has none."""
    return wheel.load("libdnnl.so.3")


def version() -> tuple[int, int, int]:
    """The library's version."""
    query = library().dnnl_version
    query.restype = ctypes.POINTER(_Version)
    found = query().contents
    return found.major, found.minor, found.patch


def _call(name: str, *arguments: object) -> None:
    status = getattr(library(), f"dnnl_{name}")(*arguments)
    if status == _UNSUPPORTED:
        raise Unsupported(f"oneDNN has no implementation for this {name}")
    if status:
        raise OneDNNError(f"oneDNN's {name} failed with status {status}")


class Handle:
    """An object of the library, destroyed with its owner."""

    def __init__(self, kind: str, create: str, *arguments: object):
        self._destroy = getattr(library(), f"dnnl_{kind}_destroy")
        self.pointer = ctypes.c_void_p()
        _call(create, ctypes.byref(self.pointer), *arguments)

    def __del__(self):
        if getattr(self, "pointer", None):
            self._destroy(self.pointer)


@functools.cache
def engine() -> Handle:
    """The CPU, on which everything here runs."""
    return Handle("engine", "engine_create", _CPU_ENGINE, ctypes.c_size_t(0))


def int64s(values: Sequence[int]) -> ctypes.Array:
    """A C array of dimensions."""
    return (ctypes.c_int64 * len(values))(*values)


class Layout(Handle):
    """Shape and strides of a tensor; without strides the primitive chooses its own format."""

    def __init__(self, shape: Sequence[int], strides: Sequence[int] | None, data_type: int = FLOAT32):
        placing: int | ctypes.Array = ANY_FORMAT
        how = "memory_desc_create_with_tag"
        if strides is not None:
            how, placing = "memory_desc_create_with_strides", int64s(strides)
        super().__init__("memory_desc", how, len(shape), int64s(shape), data_type, placing)
        self.shape, self.strides, self.data_type = shape, strides, data_type


def dense(shape: Sequence[int], data_type: int = FLOAT32) -> Layout:
    """The layout of a contiguous tensor."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    return Layout(shape, strides, data_type)


def channels_last(shape: Sequence[int], data_type: int = FLOAT32) -> Layout:
    """The layout of an [N, C, H, W] tensor whose memory is [N, H, W, C]."""
    _, channels, height, width = shape
    return Layout(shape, [height * width * channels, 1, width * channels, channels], data_type)


class _PostOperations(Handle):
    def __init__(self):
        super().__init__("post_ops", "post_ops_create")


class Attributes(Handle):
    """What a primitive does with its result before it is stored; operations apply in the order of the calls."""

    def __init__(self):
        super().__init__("primitive_attr", "primitive_attr_create")
        _call("primitive_attr_set_scratchpad_mode", self.pointer, _USER_SCRATCHPAD)
        self._operations = _PostOperations()

    def then(self, kind: int, operand: Layout) -> Attributes:
        """A binary operation with an operand, the primitive's argument `post_operand(position)`."""
        return self._append("binary", kind, operand.pointer)

    def then_apply(self, kind: int, alpha: float, beta: float) -> Attributes:
        """A function of each number."""
        return self._append("eltwise", kind, ctypes.c_float(alpha), ctypes.c_float(beta))

    def then_add_to_result(self) -> Attributes:
        """The sum with what the result's memory holds."""
        return self._append("sum", ctypes.c_float(1), 0, _SAME_TYPE)

    def _append(self, operation: str, *arguments: object) -> Attributes:
        _call(f"post_ops_append_{operation}", self._operations.pointer, *arguments)
        _call("primitive_attr_set_post_ops", self.pointer, self._operations.pointer)
        return self


@functools.cache
def _no_attributes() -> Attributes:
    return Attributes()


def post_operand(position: int) -> int:
    """The argument kind of the operand of the post-operation at a position."""
    return _POST_OPERATIONS * (position + 1) | SRC_1


def _is_for_amx(implementation: str) -> bool:
    return implementation.endswith("amx")


class Recipe(Handle):
    """A primitive descriptor: what is computed, in which formats, by which implementation."""

    def __init__(self, operation: str, *arguments: object, attributes: Attributes | None = None):
        everything = *arguments, attributes or _no_attributes()
        pointers = [item.pointer if isinstance(item, Handle) else item for item in everything]
        super().__init__("primitive_desc", f"{operation}_primitive_desc_create", *pointers)

    @classmethod
    def of(cls, operation: str, *arguments: object, attributes: Attributes | None = None) -> Recipe:
        """A descriptor of an operation that runs on the CPU engine."""
        return cls(operation, engine(), *arguments, attributes=attributes)

    @property
    def implementation(self) -> str:
        """The name of the chosen implementation, such as `brgconv:avx512_core`."""
        name = ctypes.c_char_p()
        _call("primitive_desc_query", self.pointer, _QUERY_IMPLEMENTATION, 0, ctypes.byref(name))
        return (name.value or b"").decode()

    @property
    def uses_amx(self) -> bool:
        """Whether the chosen implementation is one for AMX."""
        return _is_for_amx(self.implementation)

    def passing_over(self, is_unwanted: Callable[[str], bool]) -> Recipe:
        """The same by the next implementation whose name is not unwanted, if there is one."""
        while is_unwanted(self.implementation) and not library().dnnl_primitive_desc_next_impl(self.pointer):
            pass
        return self

    def layout(self, argument: int) -> ctypes.c_void_p:
        """The memory descriptor of an argument, owned by this recipe."""
        query = library().dnnl_primitive_desc_query_md
        query.restype = ctypes.c_void_p
        return ctypes.c_void_p(query(self.pointer, _QUERY_ARGUMENT, argument))

    def size(self, argument: int) -> int:
        """How many bytes an argument takes."""
        query = library().dnnl_memory_desc_get_size
        query.restype = ctypes.c_size_t
        return query(self.layout(argument))


def preferring(build: Callable[[], Recipe], names: kernels.Names) -> Recipe:
    """The recipe by the first implementation whose name begins so; by the first of all where there is none."""
    if not names:
        return build()
    found = build().passing_over(lambda name: not name.startswith(names))
    return found if found.implementation.startswith(names) else build()


def convolution_shape(image: Layout, weight: Layout, result: Layout, window: Sequence[ctypes.Array]) -> kernels.Shape:
    """What the choice of a convolution's kernel depends on."""
    *groups, outputs, inputs, height, width = weight.shape
    return kernels.Shape(
        images=image.shape[0],
        groups=groups[0] if groups else 1,
        outputs=outputs,
        inputs=inputs,
        is_pointwise=height == width == 1,
        stride=window[0][0],
        columns=result.shape[3],
        is_float32=image.data_type == FLOAT32,
    )


def convolution_recipe(
    purpose: int,
    image: Layout,
    weight: Layout,
    bias: Layout | None,
    result: Layout,
    window: Sequence[ctypes.Array],
    attributes: Attributes | None = None,
) -> Recipe:
    """A convolution's forward pass; the window is strides, dilations less one, padding before and padding behind.

    Raises Unsupported for what oneDNN 3.6 computes wrongly on CPUs with AVX-512: a single column of results of images
    with a single channel, where the columns in between are skipped. In bfloat16 its kernels crash where a row or a
    column of the result is made of padding alone; those for AMX, which are passed over then, miscalculate a single
    column of results where the columns in between are skipped, and kernels between which rows are skipped.
    """
    strides, kernel, width = window[0], weight.shape[-2:], result.shape[3]
    skips_columns = strides[1] > 1
    if image.shape[1] == 1 and width == 1 and skips_columns:
        raise Unsupported("oneDNN misreads images of one channel in this convolution")

    def build() -> Recipe:
        arguments = purpose, CONVOLUTION_DIRECT, image, weight, bias, result, *window
        return Recipe.of("convolution_forward", *arguments, attributes=attributes)

    recipe = preferring(build, kernels.forward(convolution_shape(image, weight, result, window)))
    if image.data_type != BFLOAT16:
        return recipe
    if any(_looks_past(image.shape[2 + axis], kernel[axis], result.shape[2 + axis], axis, window) for axis in (0, 1)):
        raise Unsupported("oneDNN crashes in bfloat16 where part of the result is made of padding alone")
    if kernel[1] > 1 and ((width == 1 and skips_columns) or kernel[0] < strides[0]):
        recipe.passing_over(_is_for_amx)
    return recipe


def _looks_past(size: int, kernel: int, results: int, axis: int, window: Sequence[ctypes.Array]) -> bool:
    """Whether for one of the results along an axis the kernel lies beside all that the image has there."""
    stride, gap, before = (it[axis] for it in window[:3])
    starts = range(-before, results * stride - before, stride)
    return any(all(not 0 <= start + tap * (gap + 1) < size for tap in range(kernel)) for start in starts)


def product_recipe(left: Layout, right: Layout, result: Layout, attributes: Attributes | None = None) -> Recipe:
    """The product of matrices, each of [rows, columns], or of many such behind axes of their own.

    Raises Unsupported for what oneDNN 3.6 misreads on CPUs with AVX-512: where a matrix has one row, it takes strides
    that leave open which axis is the contiguous one for those of the other axis.
    """
    (rows, depth), columns = left.shape[-2:], right.shape[-1]
    to_left, to_right = left.strides or (), right.strides or ()
    row_has_gaps = bool(to_left) and rows == 1 and depth > 1 and to_left[-1] > 1
    row_looks_turned = bool(to_right) and depth == 1 and columns > 1 and to_right[-2] < columns * to_right[-1]
    if row_has_gaps or row_looks_turned:
        raise Unsupported("oneDNN misreads a matrix of one row that lies so in memory")
    return Recipe.of("matmul", left, right, None, result, attributes=attributes)
