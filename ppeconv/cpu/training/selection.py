"""Whether the fast layers can be trusted on this machine, and which backend a run uses."""

from __future__ import annotations

import functools
import os
import platform
from typing import NamedTuple

import numpy as np
import paddle
from paddle.nn import functional

from ppeconv.cpu.library import onednn, openmp
from ppeconv.cpu.training.dispatch import patches, turn_off, turn_on
from ppeconv.errors import UserError

CHOICES = ("auto", "onednn", "paddle")
VARIABLE = "PPECONV_CPU_BACKEND"
PROVEN_VERSIONS = {(3, 2, 1), (3, 6, 2)}
_TOLERANCE = 1e-4


class Verdict(NamedTuple):
    """What is known of the fast layers on this machine."""

    works: bool
    proven: bool
    reason: str


def select(choice: str | None = "auto", device: str = "cpu") -> str:
    """Turn the fast layers on or off as the configuration, else the environment, else the machine says.

    `choice` is the configuration's `Global.cpu_backend`. Returns a sentence for the log whose first word
    is the chosen backend. Raises UserError for an unknown choice, and where onednn is asked for by name
    but does not work.
    """
    wanted, source = _wanted(choice)
    turn_off()
    if not device.startswith("cpu"):
        return f"paddle: the fast layers are for the CPU and this run is on {device}"
    if wanted == "paddle":
        return f"paddle: stock layers, as {source} says"
    verdict = examine()
    if verdict.works and (verdict.proven or wanted == "onednn"):
        turn_on()
        return f"onednn: {verdict.reason}, {openmp.threads()} thread(s)"
    if wanted == "onednn":
        raise UserError(f"{source} asks for the CPU backend onednn, but {verdict.reason}; use auto or paddle")
    return f"paddle: {verdict.reason}"


def available() -> tuple[bool, str]:
    """Whether `auto` uses the fast layers on this machine's CPU, and a sentence that says why."""
    verdict = examine()
    return verdict.works and verdict.proven, verdict.reason


def _wanted(choice: str | None) -> tuple[str, str]:
    """The first choice that is not auto, and who made it."""
    for value, source in ((choice, "the configuration"), (os.environ.get(VARIABLE), f"the variable {VARIABLE}")):
        if value and value not in CHOICES:
            raise UserError(f"{source} asks for the CPU backend {value!r}; allowed: {', '.join(CHOICES)}")
        if value and value != "auto":
            return value, source
    return "auto", "nobody"


@functools.cache
def examine() -> Verdict:
    """Look at the CPU and the bundled library, and compare a few tiny layers with Paddle's."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return Verdict(False, False, f"the fast layers need an x86-64 CPU and this is {platform.machine()}")
    try:
        version = onednn.version()
        difference = _largest_difference()
    except (OSError, AttributeError, onednn.OneDNNError) as error:
        return Verdict(False, False, f"the oneDNN library of this paddlepaddle cannot be used ({error})")
    name = "oneDNN " + ".".join(map(str, version))
    if not difference < _TOLERANCE:
        return Verdict(False, False, f"the self-check of {name} differs from Paddle by {difference:.1e}")
    if version not in PROVEN_VERSIONS:
        return Verdict(True, False, f"{name} is not among the versions proven to work")
    return Verdict(True, True, name)


def _largest_difference() -> float:
    """The largest relative difference from Paddle over the results and gradients of a tiny network."""
    before = patches.installed
    try:
        patches.remove()
        expected = _tiny_step()
        patches.install()
        found = _tiny_step()
    finally:
        patches.remove()
        if before:
            patches.install()
    return max(_difference(*pair) for pair in zip(found, expected, strict=True))


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / (np.linalg.norm(expected) + 1e-12))


def _tiny_step() -> list[np.ndarray]:
    draw = np.random.default_rng(0).standard_normal
    shapes = [2, 8, 9, 9], [16, 4, 3, 3], [16], [16, 1, 3, 3], [16], [16]
    tensors = [paddle.to_tensor(draw(shape).astype("float32"), place=paddle.CPUPlace()) for shape in shapes]
    for tensor in tensors:
        tensor.stop_gradient = False
    x, grouped, bias, depthwise, scale, shift = tensors
    y = functional.conv2d(x, grouped, bias, stride=2, padding=1, groups=2)
    y = functional.conv2d(y, depthwise, padding=1, groups=16)
    statistics = paddle.zeros([16]), paddle.ones([16])
    y = functional.relu(functional.batch_norm(y, *statistics, scale, shift, training=True))
    y = functional.max_pool2d(y, 3, 2) + functional.adaptive_avg_pool2d(y, 1)
    (y * y).sum().backward()
    return [tensor.numpy() for tensor in (y, *statistics, *(it.grad for it in tensors))]
