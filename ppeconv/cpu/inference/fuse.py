"""Steps done together with the step before them, so that their numbers are not read and stored once more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ppeconv.cpu.inference import primitives
from ppeconv.cpu.inference.copies import is_copy
from ppeconv.cpu.inference.graph import Graph, Post, Step, Value
from ppeconv.cpu.inference.lower import COMMUTATIVE
from ppeconv.cpu.inference.uncut import uncut
from ppeconv.cpu.library import onednn


def fused(graph: Graph, batch: int) -> list[Step]:
    """The steps for a number of images, as many as possible of them done by others."""
    steps = uncut(graph, batch)
    uses = Counter(value.root for step in steps for value in step.operands)
    uses[graph.result.root] += 1
    kept: list[Step] = []
    made: dict[Value, int] = {}
    for given in steps:
        step = Step(given.kind, list(given.inputs), given.output, given.settings, list(given.posts))
        for value, post in _posts(step):
            place = made.get(value)
            if place is None or uses[value] > 1 or value.shape != step.output.shape:
                continue
            operand = post.operand
            if operand is not None and operand.constant is None and made.get(operand.root, -1) >= place:
                continue
            if _takes(kept[place], post, batch):
                kept[place].output = step.output
                made[step.output] = place
                break
        else:
            made[step.output] = len(kept)
            kept.append(step)
    return kept


def _posts(step: Step) -> Iterator[tuple[Value, Post]]:
    """The values whose steps could do this one, and how."""
    settings = step.settings
    if step.posts:
        return
    if step.kind == "function":
        yield step.inputs[0], Post(settings["kind"], None, settings["alpha"], settings["beta"])
    elif step.kind == "binary":
        first, second = step.inputs
        yield first, Post(settings["kind"], second)
        if settings["kind"] in COMMUTATIVE:
            yield second, Post(settings["kind"], first)


def _takes(host: Step, post: Post, batch: int) -> bool:
    """Add a post to a step if the step stays as fast; whether it did."""
    if is_copy(host):
        return False
    if (bias := _bias(host, post)) is not None:
        host.inputs.append(bias)
        return True
    try:
        before = primitives.recipe(host, batch).implementation
        host.posts.append(post)
        if primitives.recipe(host, batch).implementation == before:
            return True
    except onednn.OneDNNError:
        pass
    host.posts.remove(post)
    return False


def _bias(host: Step, post: Post) -> Value | None:
    """What a post adds, where the step can take it as its bias."""
    has_place = host.is_weighted and len(host.inputs) == 2 and not host.posts
    if not has_place or post.kind != onednn.BINARY_ADD or post.operand is None or post.operand.constant is None:
        return None
    return post.operand if post.operand.constant.size == host.output.shape[1] else None
