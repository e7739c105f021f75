"""Hooks on, and gradients of, activations in the middle of a network.

Gradients flow from rows to rows and may bypass the image that the user holds, so a request that names an
image is passed on to its rows and answered in the image's shape.
"""

from __future__ import annotations

from collections.abc import Callable

from paddle import Tensor

from ppeconv.cpu.training import layout
from ppeconv.cpu.training.fan import begin_pass
from ppeconv.errors import UserError

_LATE = (
    "{} that comes right after the tensor is made, before it is used; move the call, or run this network inside "
    "ppeconv.backend.disabled()"
)


def register_hook(original: Callable) -> Callable:
    """A function called with the gradient of a tensor; it may replace it if registered before the tensor is used."""

    def stand_in(tensor, hook):
        bypassed, rows = layout.is_bypassed(tensor), layout.forget(tensor)
        if bypassed:
            raise UserError(
                "the gradient of what enters a ReLU can only be seen by a " + _LATE.format("register_hook()")
            )
        if rows is None:
            return original(tensor, hook)

        def on_rows(gradient):
            if hook(layout.view_as_image(layout.copy_of(gradient))) is not None:
                raise UserError("a gradient can only be replaced by a " + _LATE.format("register_hook()"))

        return original(rows, on_rows)

    return stand_in


def retain_grads(original: Callable) -> Callable:
    """Keeping the gradient of a tensor that is no parameter."""

    def stand_in(tensor):
        if layout.forget(tensor) is not None:
            raise UserError("a gradient can only be retained by a " + _LATE.format("retain_grads()"))
        return original(tensor)

    return stand_in


def grad(original: Callable) -> Callable:
    """Gradients of outputs with respect to given tensors."""

    def stand_in(
        outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, only_inputs=True,
        allow_unused=False, no_grad_vars=None,
    ):  # fmt: skip
        # Refused before Paddle's engine starts: what its nodes raise, it makes an OSError.
        if create_graph and _has_python_layer(outputs):
            raise UserError(layout.NO_SECOND_DERIVATIVES)
        listed = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        if any(layout.is_bypassed(it) for it in listed):
            raise UserError("paddle.grad cannot see what enters a fused ReLU; use backend.disabled() for this network")
        rows = [layout.remembered_rows(it) for it in listed]
        asked = [it if behind is None else behind for it, behind in zip(listed, rows, strict=True)]
        # A fast layer answers for all its inputs, which Paddle accepts only where all were asked for.
        others = [it for it in layout.trained() if all(it is not one for one in asked)]
        begin_pass()
        answers = original(
            outputs, asked + others, grad_outputs, retain_graph, create_graph, only_inputs,
            allow_unused or bool(others), no_grad_vars,
        )[: len(listed)]  # fmt: skip
        if not allow_unused and any(it is None for it in answers):
            raise UserError("paddle.grad was asked for a tensor the outputs do not depend on; set allow_unused=True")
        pairs = zip(answers, rows, strict=True)
        return [it if it is None or behind is None else layout.view_as_image(it) for it, behind in pairs]

    return stand_in


def backward(original: Callable) -> Callable:
    """The backward pass from one tensor or several."""

    def stand_in(tensors, grad_tensors=None, retain_graph=False, *arguments, **named):
        # Paddle drops the context of such a node after one pass.
        if retain_graph and _has_python_layer(tensors):
            raise UserError(
                "Paddle cannot keep the graph of the fast CPU layers for a second backward pass; add the losses up, "
                "or build the network's output inside ppeconv.backend.disabled()"
            )
        begin_pass()
        return original(tensors, grad_tensors, retain_graph, *arguments, **named)

    return stand_in


def _has_python_layer(tensors: Tensor | list[Tensor]) -> bool:
    """Whether a graph holds a node that is written in Python, such as a fast layer."""
    starts = tensors if isinstance(tensors, list | tuple) else [tensors]
    waiting, seen = [it.grad_fn for it in starts], set()
    while waiting:
        node = waiting.pop()
        if node is None or node.node_ptr() in seen:
            continue
        if "PyLayer" in node.name():
            return True
        seen.add(node.node_ptr())
        waiting.extend(node.next_functions)
    return False
