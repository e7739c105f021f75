"""Whether a network takes images of a shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import paddle
from paddle import Tensor, nn

from ppeconv.errors import UserError


def require_fit(model: nn.Layer, shape: Sequence[int], name: str | None = None) -> Any:
    """What a network in eval mode gives for one black image of a shape [C, H, W].

    Raises:
        UserError: the network, which is called `name` or by its class, does not take such images.
    """
    what, training = f"{name or type(model).__name__} does not take images of {list(shape)}", model.training
    hooks = [layer.register_forward_post_hook(_refuse_empty(what, path)) for path, layer in model.named_sublayers()]
    model.eval()
    try:
        with paddle.no_grad():
            return model(paddle.zeros([1, *shape]))
    except (ValueError, OSError, RuntimeError, ArithmeticError) as error:  # what Paddle's kernels raise
        reason = str(error).strip().partition("\n")[0].removeprefix("(InvalidArgument) ")
        raise UserError(f"{what}: {reason}") from None
    finally:
        for hook in hooks:
            hook.remove()
        if training:
            model.train()


def _refuse_empty(what: str, path: str) -> Callable[..., None]:
    def hook(layer: nn.Layer, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and 0 in output.shape:
            raise UserError(f"{what}: they are too small, nothing is left of them behind its layer {path}")

    return hook
