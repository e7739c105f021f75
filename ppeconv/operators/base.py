"""What every conv-like operator has in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from paddle import nn

from ppeconv.errors import Unsupported, UserError
from ppeconv.geometry import ConvGeometry
from ppeconv.layers.folding import Affine
from ppeconv.operators.cost import Cost
from ppeconv.operators.passage import Passage
from ppeconv.schema.declaration import Declared


class ConvOperator(Declared, nn.Layer):
    """A drop-in for `nn.Conv2D`: [N, C_in, H, W] -> [N, C_out, H', W'].

    The named arguments are those of `nn.Conv2D`, the rest the operator's own. A subclass defines `build` and
    `forward`, `cost`, and where its definition has bounds `limits` and `refuse`. Its own arguments are the fields of
    its `Arguments`: they are what a config can set, and the methods are given them as `own`.

    Raises:
        UserError: an own argument outside what `Arguments` declares.
        Unsupported: the operator has no definition for this convolution.
    """

    default_rules: ClassVar[dict[str, Any]] = {}
    """Which convolutions `replace_conv` gives to this operator when the user names no rules."""
    limits: ClassVar[tuple[str, ...]] = ()
    """What the operator asks of every convolution: names from `LIMITS`."""
    forms: ClassVar[tuple[str, ...]] = ()
    """The inference forms that `deployed` can be asked for where there are several."""
    fusing_form: ClassVar[str | None] = None
    """The one of them for a runtime that does sums, gates and activations inside the convolution before them, where it
    is not the operator's own choice."""
    lighter: ClassVar[dict[str, Sequence[Any]]] = {}
    """Own argument -> values to try in turn where the operator would not save anything on a convolution."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if isinstance(cls.limits, str) or not set(cls.limits) <= set(LIMITS):
            raise UserError(
                f"{cls.__name__}.limits should be a tuple of names among {sorted(LIMITS)}; got {cls.limits!r}"
            )

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[Any] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias_attr: Any = None,
        padding_mode: str = "zeros",
        data_format: str = "NCHW",
        **own: Any,
    ):
        checked = self.arguments(own)
        geometry = ConvGeometry.of(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias_attr,
            padding_mode,
            data_format,
        )
        self.check(geometry, checked)
        self._make(geometry, checked)

    def _make(self, place: ConvGeometry, own: Any) -> None:
        super().__init__()
        self.geometry = place
        self.build(place, own)

    @classmethod
    def of_geometry(cls, geometry: ConvGeometry, **own: Any) -> ConvOperator:
        """The operator in place of a convolution of that geometry."""
        return cls(**geometry.conv_arguments(), **own)

    @classmethod
    def check(cls, geometry: ConvGeometry, own: Any) -> None:
        """Raise `Unsupported` with the reason when the operator cannot stand in for such a convolution."""
        if geometry.padding_mode != "zeros" or geometry.data_format != "NCHW":
            raise Unsupported(
                f"{cls.__name__} pads with zeros and reads NCHW; got padding_mode "
                f"{geometry.padding_mode!r} and data_format {geometry.data_format!r}"
            )
        for limit in cls.limits:
            holds, sentence = LIMITS[limit]
            if not holds(geometry):
                raise Unsupported(f"{cls.__name__} {sentence.format(geometry)}")
        cls.refuse(geometry, own)

    @classmethod
    def refuse(cls, geometry: ConvGeometry, own: Any) -> None:
        """Raise `Unsupported` for a convolution that the operator, with these own arguments, has no definition for."""

    def build(self, geometry: ConvGeometry, own: Any) -> None:
        """Make the sub-layers."""
        raise TypeError(f"{type(self).__name__} defines no build()")

    def inherit(self, conv: nn.Conv2D) -> bool:
        """Take over the weights of the replaced convolution; False where they have no place in this operator."""
        return False

    @classmethod
    def passage(cls, model: nn.Layer, own: Any) -> Passage:
        """The operator's way through a network as a whole, which rules.flow asks for; a UserError where it has none."""
        raise UserError(f"rules.flow is for OctaveConv; {cls.__name__} takes and gives one tensor")

    def deployed(self, after: Affine, form: str | None = None) -> nn.Layer | None:
        """A layer for inference that does what this operator and the map `after` behind it do in eval mode.

        It shares no parameter with the operator. None: there is no such layer, and the operator stays as it is, with
        the batch norms behind its convolutions folded.

        Args:
            after: the host's batch norm, or the identity.
            form: one of `forms`; None lets the operator choose.
        """
        return None

    @classmethod
    def formula(cls, geometry: ConvGeometry, height: int, width: int, **own: Any) -> Cost:
        """Closed form of (trainable parameters, MACs for one input of height x width pixels)."""
        return cls.cost(geometry, height, width, cls.arguments(own))

    @classmethod
    def cost(cls, geometry: ConvGeometry, height: int, width: int, own: Any) -> Cost:
        """What `formula` returns, from checked own arguments."""
        raise TypeError(f"{cls.__name__} defines no cost()")

    @classmethod
    def describe(cls, geometry: ConvGeometry, own: Any) -> str:
        """The convolution and what the operator makes of it; for the report of replacement."""
        return str(geometry)

    def extra_repr(self) -> str:
        return str(self.geometry)


def copy_weights(source: nn.Conv2D, target: nn.Conv2D) -> None:
    """Give a convolution the weights of another one of its geometry."""
    target.weight.set_value(source.weight)
    if target.bias is not None:
        target.bias.set_value(source.bias)


LIMITS: dict[str, tuple[Callable[[ConvGeometry], bool], str]] = {
    "dense": (
        lambda geometry: geometry.groups == 1,
        "stands in for a dense convolution; this one has groups={0.groups}",
    ),
    "dense or depthwise": (
        lambda geometry: geometry.groups == 1 or geometry.groups == geometry.in_channels == geometry.out_channels,
        "stands in for a dense or a depthwise convolution; this one has groups={0.groups} for "
        "{0.in_channels}->{0.out_channels}",
    ),
    "odd kernel": (
        lambda geometry: all(side % 2 for side in geometry.kernel_size),
        "needs an odd kernel, whose centre is a pixel; got {0.kernel_size}",
    ),
    "kernel above 1x1": (
        lambda geometry: max(geometry.kernel_size) > 1,
        "needs a kernel above 1x1; got {0.kernel_size}",
    ),
    "fixed padding": (
        lambda geometry: geometry.padding != "SAME",
        "needs a padding that does not depend on the input size; got 'SAME' with a stride",
    ),
}
