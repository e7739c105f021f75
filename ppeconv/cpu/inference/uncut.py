"""Convolutions of some of an image's channels, which they read where they lie."""

from __future__ import annotations

from ppeconv.cpu.inference import primitives
from ppeconv.cpu.inference.graph import Graph, Step, Value
from ppeconv.cpu.library import onednn


def uncut(graph: Graph, batch: int) -> list[Step]:
    """The steps for a number of images, without copies of channels that a convolution reads as fast from the whole.

    Channels last, [C, H, W] is in memory what [C / k, H, k W] is: k columns for each pixel. A convolution that strides,
    dilates and pads k times as far sees the same one of them everywhere.
    """
    cuts = {step.output: step for step in graph.steps if step.kind == "cut"}
    steps = [_reading_the_whole(step, cuts.get(step.inputs[0]), batch) for step in graph.steps]
    read = {graph.result.root, *(value.root for step in steps for value in step.operands)}
    return [step for step in steps if step.kind != "cut" or step.output in read]


def _reading_the_whole(step: Step, cut: Step | None, batch: int) -> Step:
    if step.kind != "convolution" or cut is None:
        return step
    (whole,), part, first = cut.inputs, cut.output, cut.settings["begin"][1]
    channels, *size = part.shape[1:]
    if whole.shape[1] % channels or first % channels or list(whole.shape[2:]) != size:
        return step
    columns = whole.shape[1] // channels
    view = Value((-1, channels, size[0], columns * size[1]), same_as=whole, offset=first)
    top, bottom, left, right = step.settings["padding"]
    settings = {
        **step.settings,
        "padding": (top, bottom, columns * left, columns * right),
        **{name: (step.settings[name][0], columns * step.settings[name][1]) for name in ("stride", "dilation")},
    }
    found = Step(step.kind, [view, *step.inputs[1:]], step.output, settings, step.posts)
    return found if _is_as_fast(found, step, batch) else step


def _is_as_fast(found: Step, step: Step, batch: int) -> bool:
    try:
        return primitives.recipe(found, batch).implementation == primitives.recipe(step, batch).implementation
    except onednn.OneDNNError:
        return False
