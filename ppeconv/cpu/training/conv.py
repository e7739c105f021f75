"""Two-dimensional convolution, plain, grouped or depthwise, with its gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable

from ppeconv.cpu.library import onednn
from ppeconv.cpu.library.window import Geometry
from ppeconv.cpu.training import direct, layout, pointwise, side_by_side, winograd
from ppeconv.cpu.training.fan import Layer
from ppeconv.cpu.training.rounding import rounded

_Steps = direct.Steps | side_by_side.Steps | winograd.Steps


class _Plan:
    """How a convolution and each of its gradients are computed, which follows from the geometry alone."""

    def __init__(self, geometry: Geometry):
        n, m, height, width = geometry.result
        self.output, self.data_type = [n, height, width, m], geometry.data_type
        self._filters: _Steps = direct.Steps(geometry)
        self._gradient: _Steps | pointwise.Steps = self._filters
        if geometry.data_type != onednn.FLOAT32:
            if side_by_side.pays_in_weight_gradient(geometry) and (beside := side_by_side.Steps(geometry)).uses_amx:
                self._gradient = beside
                if side_by_side.pays_in_filtering(geometry):
                    self._filters = beside
            return
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
    """The plan of a geometry; None where oneDNN has no fast primitives or the arguments make no sense.

    What it has fast primitives for in float32 alone is computed so.
    """
    try:
        return _Plan(geometry)
    except onednn.OneDNNError:
        return plan(geometry._replace(data_type=onednn.FLOAT32)) if geometry.data_type != onednn.FLOAT32 else None


class Convolution(Layer):
    """Convolution of rows by a plan."""

    @staticmethod
    def forward(ctx, rows, weight, bias, steps):
        operands = [rows, weight] if bias is None else [rows, weight, bias]
        ctx.wanted = not rows.stop_gradient, layout.trains(*operands[1:])
        weight, *bias = (it.contiguous() for it in operands[1:])
        image, result = rounded(rows, steps.data_type), layout.new(steps.output, steps.data_type)
        steps.forward(*[tensor.data_ptr() for tensor in (image, weight, *bias, result)])
        ctx.save_for_backward(image, weight)
        ctx.steps, ctx.biased, ctx.data_type = steps, bool(bias), layout.data_type(rows)
        return result

    @staticmethod
    def backward(ctx, gradient):
        image, weight = ctx.saved_tensor()
        data_type = ctx.steps.data_type
        gradient = rounded(layout.incoming(gradient), data_type)
        (wants_image, wants_weight), shape = ctx.wanted, weight.shape
        image_gradient = layout.new(image.shape, data_type) if wants_image else None
        shapes = [shape, shape[:1]] if ctx.biased else [shape]
        parameters = [layout.new(it) if wants_weight else None for it in shapes]
        at_image, at_weight, at_gradient, at_image_gradient, *at_parameters = (
            None if it is None else it.data_ptr() for it in (image, weight, gradient, image_gradient, *parameters)
        )
        if wants_image:
            ctx.steps.image_gradient(at_gradient, at_weight, at_image_gradient)
        if wants_weight:
            ctx.steps.weight_gradient(at_image, at_gradient, *at_parameters)
        return rounded(image_gradient, ctx.data_type) if wants_image else None, *parameters
