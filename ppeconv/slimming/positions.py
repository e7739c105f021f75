"""The layers of a trained network in whose place something faster may stand: convolutions and residual blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from paddle import nn

from ppeconv import observe
from ppeconv.branches.find import ResidualBlock, residual_blocks
from ppeconv.errors import UserError, nearest
from ppeconv.geometry import ConvGeometry
from ppeconv.surgery.rules import matches
from ppeconv.surgery.sites import Site, sites


@dataclass
class Position:
    """A convolution, or a residual block."""

    site: Site
    """Where; of a block, the block itself is its layer."""
    in_shape: tuple[int, ...]
    """[C, H, W] of what goes in."""
    block: ResidualBlock | None = None
    inside: list[str] = field(default_factory=list)
    """Paths of the other positions that are in a block."""
    geometry: str = ""
    """The same for positions that are measured as one."""

    @property
    def path(self) -> str:
        """In the network."""
        return self.site.path

    @property
    def layer(self) -> nn.Layer:
        """What stands there."""
        return self.site.layers[0]


def positions(model: nn.Layer, image_shape: Sequence[int], keep: Sequence[str] = ()) -> list[Position]:
    """Those of a network in the order of registration, so that a block is followed by what is in it.

    Left out are the convolution that reads the image, subclasses of `nn.Conv2D`, what the network does not run, and
    layers whose paths match a pattern of `keep`, with what is in them and the blocks around them. A UserError names a
    pattern that matches no layer.
    """
    size = [1, *image_shape]
    blocks = {block.path: block for block in residual_blocks(model, size)}
    convolutions = [site for site in list(sites(model, paired=False))[1:] if type(site.layers[0]) is nn.Conv2D]
    shapes = observe.input_shapes(model, [site.layers[0] for site in convolutions], image_shape)
    found = [Position(Site(it.path, _of_block(it), [it.layer]), it.in_shape, it) for it in blocks.values()]
    found += [Position(it, shapes[id(it.layers[0])]) for it in convolutions if id(it.layers[0]) in shapes]
    order = {path: number for number, (path, _) in enumerate(model.named_sublayers(include_self=True))}
    for pattern in keep:
        if not any(matches(path, [pattern]) for path in filter(None, order)):
            raise UserError(f"{pattern!r} of what is kept matches no layer{nearest(pattern, filter(None, order))}")
    found.sort(key=lambda it: order[it.path])
    for it in found:
        if it.block:
            it.inside = [other.path for other in found if other.path.startswith(f"{it.path}.")]
    kept = {it.path for it in found if any(matches(path, keep) for path in _with_parents(it.path))}
    found = [it for it in found if it.path not in kept and not kept & set(it.inside)]
    named: dict[str, str] = {}
    for it in found:
        text = f"{_words(it)} on {it.in_shape[1]}x{it.in_shape[2]}"
        alike = named.setdefault(text, repr(it.layer)) == repr(it.layer)
        it.geometry = text if alike else f"{text} in {it.path}"
    return found


def groups(found: Sequence[Position]) -> dict[str, list[Position]]:
    """Positions by their geometry."""
    together: dict[str, list[Position]] = {}
    for it in found:
        together.setdefault(it.geometry, []).append(it)
    return together


def stage_ends(found: Sequence[Position]) -> list[str]:
    """Paths of the last residual blocks before the shape of feature maps changes, which a slimmed network has, too."""
    return list({it.block.out_shape: it.path for it in found if it.block}.values())


def _with_parents(path: str) -> Iterator[str]:
    """Of "a.b.c": "a", "a.b", "a.b.c"."""
    return accumulate(path.split("."), "{}.{}".format)


def _of_block(block: ResidualBlock) -> ConvGeometry:
    return ConvGeometry(block.in_shape[0], block.out_shape[0], (1, 1))


def _words(position: Position) -> str:
    if position.block is None:
        return str(position.site.geometry)
    inner = "-".join(str(it.writer._out_channels) for it in position.block.inner)
    channels = f"{position.block.in_shape[0]}->{position.block.out_shape[0]}"
    return f"{type(position.layer).__name__} {channels}{f' ({inner} inside)' if inner else ''}"
