"""Two-dimensional convolution, plain, grouped or depthwise, with its gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable

from paddle.autograd import PyLayer

from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.window import Geometry
from ppeconv.cpu.training import direct, layout, pointwise, winograd


class _Plan:
    """How a convolution and each of its gradients are computed, which follows from the geometry alone."""

    def __init__(self, geometry: Geometry):
        n, m, height, width = geometry.result
        self.output = [n, height, width, m]
        self._filters: direct.Steps | winograd.Steps = direct.Steps(geometry)
        self._gradient: direct.Steps | winograd.Steps | pointwise.Steps = self._filters
        if winograd.pays_in_weight_gradient(geometry):
            self._gradient = steps = winograd.Steps(geometry)
            if winograd.pays_in_filtering(geometry):
                self._filters = steps
        if pointwise.pays(geometry):
            self._gradient = pointwise.Steps(geometry)

    @property
    def forward(self) -> Callable[..., None]:
        """(image, weight, [bias], result)"""
        return self._filters.forward

    @property
    def image_gradient(self) -> Callable[..., None]:
        """(gradient of the result, weight, gradient of the image)"""
        return self._filters.image_gradient

    @property
    def weight_gradient(self) -> Callable[..., None]:
        """(image, gradient of the result, gradient of the weight, [gradient of the bias])"""
        return self._gradient.weight_gradient


@functools.lru_cache(maxsize=1024)
def plan(geometry: Geometry) -> _Plan | None:
    """The plan of a geometry; None where oneDNN has no fast primitives or the arguments make no sense."""
    try:
        return _Plan(geometry)
    except onednn.OneDNNError:
        return None


class Convolution(PyLayer):
    """Convolution of rows by a plan."""

    @staticmethod
    def forward(ctx, rows, weight, bias, steps):
        operands = [rows, weight] if bias is None else [rows, weight, bias]
        ctx.wanted = not rows.stop_gradient, layout.trains(*operands[1:])
        weight, *bias = (it.contiguous() for it in operands[1:])
        result = layout.new(steps.output)
        steps.forward(*[tensor.data_ptr() for tensor in (rows, weight, *bias, result)])
        ctx.save_for_backward(rows, weight)
        ctx.steps, ctx.biased = steps, bool(bias)
        return result

    @staticmethod
    def backward(ctx, gradient):
        rows, weight = ctx.saved_tensor()
        gradient = layout.incoming(gradient)
        (wants_image, wants_weight), shape = ctx.wanted, weight.shape
        image_gradient = layout.new(rows.shape) if wants_image else None
        shapes = [shape, shape[:1]] if ctx.biased else [shape]
        parameters = [layout.new(it) if wants_weight else None for it in shapes]
        at_rows, at_weight, at_gradient, at_image, *at_parameters = (
            None if it is None else it.data_ptr() for it in (rows, weight, gradient, image_gradient, *parameters)
        )
        if wants_image:
            ctx.steps.image_gradient(at_gradient, at_weight, at_image)
        if wants_weight:
            ctx.steps.weight_gradient(at_rows, at_gradient, *at_parameters)
        return image_gradient, *parameters
