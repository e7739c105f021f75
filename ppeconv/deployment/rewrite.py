"""The inference form of a trained network."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import paddle
from paddle import Tensor, nn

from ppeconv import observe
from ppeconv.anywidth import narrow
from ppeconv.deployment.outputs import tensors
from ppeconv.deployment.pairs import norms_behind
from ppeconv.errors import UserError, nearest
from ppeconv.layers.folding import Affine, folded, hooked, is_foldable_conv
from ppeconv.layers.parameters import NORMS
from ppeconv.operators.base import ConvOperator
from ppeconv.registry import OPERATORS
from ppeconv.surgery.images import usual_shape

TOLERANCE = 1e-4
"""Largest difference that rounding may make, relative to the largest output."""


def deploy(
    model: nn.Layer, input_size: Sequence[int] | None = None, forms: Mapping[str, str] | None = None
) -> nn.Layer:
    """A network for inference that computes what `model` computes in eval mode; `model` stays as it was.

    A batch norm that alone reads what a convolution gives is folded into it, and every operator that has a form for
    inference (see `ConvOperator.deployed`) takes it, together with the batch norm behind it. An any-width network
    becomes an ordinary one of its present width. Which norm reads which convolution is seen by running the network
    once, so it does not matter how its forward is written; a convolution that is used twice, or whose output something
    else reads too, keeps its norm.

    Args:
        model: any network with one image tensor as its input.
        input_size: [N, C, H, W] or [C, H, W] of an image it can run on; not given, the usual size of its backbone, or
            64 x 64.
        forms: operator, or the name of a sublayer -> the form it takes, for operators with several;
            {"SPConv": "merged", "layer1.0.conv1": "separate"}. A sublayer's own form counts more than its operator's.

    Returns:
        A network in eval mode; it cannot be trained on.

    Raises:
        UserError: the network is not in float32 or does not run on such an image, a form does not exist, or the results
            differ.
    """
    require_float32(model)
    model = narrow(model)
    chosen = _chosen(model, forms or {})
    image = _image(model, input_size)
    substitutes: dict[int, nn.Layer] = {}
    with observe.stock(model):
        operators = {id(layer): layer for layer in rewritable(model).values()}
        for key, operator in operators.items():
            after = Affine.identity(operator.geometry.out_channels)
            if (form := operator.deployed(after, chosen.get(key))) is not None:
                substitutes[key] = form
        convs = {id(layer): layer for layer in _outside(model, substitutes) if is_foldable_conv(layer)}
        whole = {key: operators[key] for key in substitutes}
        expected, pairs = norms_behind(model, convs | whole, image)
        for key, norm in pairs.items():
            after = Affine.of_norm(norm)
            if key in convs:
                substitutes[key] = folded(convs[key], after)
            else:
                substitutes[key] = operators[key].deployed(after, chosen.get(key))
            substitutes[id(norm)] = nn.Identity()
        network = with_affine_norms(copy.deepcopy(model, substitutes))
        network.eval()
        with paddle.no_grad():
            found = network(image)
    _require_equal(tensors(found), expected)
    return network


def require_float32(model: nn.Layer) -> None:
    """Raise a UserError for a network of another number format: runtimes read float32."""
    kinds = {str(value.dtype).removeprefix("paddle.") for value in model.parameters() if value.is_floating_point()}
    if kinds - {"float32"}:
        raise UserError(
            f"networks are deployed and exported in float32; this one has parameters in {', '.join(sorted(kinds))}: "
            "convert it, or a copy, with model.to(dtype='float32')"
        )


def with_affine_norms(model: nn.Layer) -> nn.Layer:
    """The network, or a copy where a batch norm has no scale or no shift: it has 1 and 0 there, as runtimes ask for."""
    if not any(True for _ in _bare(model)):
        return model
    network = copy.deepcopy(model)
    for norm, name, value in _bare(network):
        constant = nn.initializer.Constant(value)
        setattr(
            norm, name, norm.create_parameter(norm._mean.shape, dtype=norm._mean.dtype, default_initializer=constant)
        )
    return network


def _bare(model: nn.Layer) -> Iterator[tuple[nn.Layer, str, float]]:
    """The batch norms that lack a parameter, its name, and the number that it stands for."""
    for norm in model.sublayers(include_self=True):
        if isinstance(norm, NORMS):
            yield from (
                (norm, name, value) for name, value in (("weight", 1.0), ("bias", 0.0)) if getattr(norm, name) is None
            )


def fusing_forms() -> dict[str, str]:
    """The form that operators have for a runtime that fuses, as `deploy` takes it."""
    forms = {name: getattr(OPERATORS.get(name), "fusing_form", None) for name in OPERATORS.names()}
    return {name: form for name, form in forms.items() if form}


def rewritable(model: nn.Layer) -> dict[str, ConvOperator]:
    """Name -> operator, of those that `deploy` may put into their form for inference."""
    layers = model.named_sublayers(include_self=True)
    return {name: layer for name, layer in layers if isinstance(layer, ConvOperator) and not hooked(layer)}


def _chosen(model: nn.Layer, forms: Mapping[str, str]) -> dict[int, str]:
    """id(operator) -> the form that was asked for."""
    layers = rewritable(model)
    chosen: dict[int, str] = {}
    for key, form in sorted(forms.items(), key=lambda item: item[0] in layers):
        if key not in layers and not OPERATORS.knows(key):
            names = [*OPERATORS.names(), *layers]
            raise UserError(f"forms are for operators or layers that are one; got {key!r}{nearest(key, names)}")
        kind = type(layers[key]) if key in layers else OPERATORS.get(key)
        if form not in kind.forms:
            raise UserError(f"{key} has no deployed form {form!r}{nearest(form, kind.forms)}")
        meant = [layers[key]] if key in layers else [layer for layer in layers.values() if type(layer) is kind]
        chosen.update((id(layer), form) for layer in meant)
    return chosen


def _outside(layer: nn.Layer, opaque: Mapping[int, nn.Layer]) -> Iterator[nn.Layer]:
    """`layer` and those below it, without the insides of some."""
    if id(layer) in opaque:
        return
    yield layer
    for child in layer.children():
        yield from _outside(child, opaque)


def _image(model: nn.Layer, input_size: Sequence[int] | None) -> Tensor:
    size = usual_shape(model) if input_size is None else list(input_size)[-3:]
    if len(size) != 3 or min(size) < 1:
        raise UserError(f"input_size is [N, C, H, W] or [C, H, W] with positive sizes; got {size}")
    return paddle.to_tensor(np.random.default_rng(0).standard_normal((1, *size), np.float32))


def _require_equal(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        ours, theirs = ours.numpy(), theirs.numpy()
        if not np.abs(ours - theirs).max() <= TOLERANCE * max(np.abs(theirs).max(), 1e-12):
            raise UserError(
                "the deployed network differs from the trained one, which reads a convolution's output in a way that "
                "cannot be followed, or is not the same at every call; use the trained form (export --form trained)"
            )
